"""The container engine: it answers, gives modules name servers, and bounds what they write."""

import json
from typing import Any

from skerry.base.files import write_atomic
from skerry.check.appliance import Appliance, table
from skerry.check.checks.network import default_interface, name_servers
from skerry.check.model import (
    Check,
    Finding,
    Fix,
    Section,
    error,
    fatal,
    ignored,
    ok,
    warning,
)
from skerry.engine.errors import EngineError, EngineUnreachableError

_NEXT_START = "it takes effect when the engine starts again"
_LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}
_COPYING = {
    "vfs": "every container has a whole copy of its image",
    "devicemapper": "it is slow, and newer engines do not have it",
    "aufs": "newer engines do not have it",
}
"""Storage drivers that do not belong on an appliance, and why."""

_DROPPING = ("journald", "local", "none", "syslog", "gelf", "fluentd")
"""Log drivers that keep within bounds by themselves, or elsewhere."""


def _answers(appliance: Appliance) -> Finding:
    try:
        info = appliance.engine().info()
    except EngineUnreachableError as problem:
        if "permission denied" in str(problem):
            return fatal(str(problem), "run it with sudo")
        return error(
            str(problem),
            "skerry check --fix, or: sudo systemctl start docker; then see: journalctl -u docker",
            fix=Fix(
                "started the container engine",
                lambda: _start(appliance),
            ),
        )
    except EngineError as problem:
        return error(f"the container engine refuses: {problem}", "journalctl -u docker")
    return ok(f"version {info.server_version}", docker_version=info.server_version)


def _start(appliance: Appliance) -> None:
    appliance.units.run("systemctl", "reset-failed", "docker.service", "docker.socket")
    appliance.units.run("systemctl", "start", "docker.service")


def _config(appliance: Appliance) -> dict[str, Any]:
    """Return daemon.json; empty where there is none. Raises OSError and ValueError."""
    path = appliance.options.engine_config
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    found = json.loads(text) if text.strip() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, expected an object")  # noqa: TRY004
    return found


def _broken(appliance: Appliance, problem: Exception) -> Finding:
    path = appliance.options.engine_config
    return error(
        f"{path} cannot be used: {problem}",
        "correct it: the engine will not start again with it",
    )


def _write(appliance: Appliance, more: dict[str, object]) -> None:
    path = appliance.options.engine_config
    text = json.dumps({**_config(appliance), **more}, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode(), mode=0o644)


def _dns(appliance: Appliance) -> Finding:
    try:
        config = _config(appliance)
    except (OSError, ValueError) as problem:
        return _broken(appliance, problem)
    if config.get("dns"):
        return ok(", ".join(map(str, config["dns"])))
    servers = name_servers(appliance)
    if servers:
        return ok(f"the host's: {', '.join(servers)}")
    if default_interface(appliance) is None:
        return ignored("offline: there is nothing to resolve")
    return warning(
        "containers have no name server: none is configured for them, and the host has none that "
        "they could use (one on the host's own loopback is out of their reach)",
        f'set "dns" in {appliance.options.engine_config}; {_NEXT_START}',
    )


def _storage(appliance: Appliance) -> Finding:
    driver = appliance.engine().info().storage_driver
    if driver not in _COPYING:
        return ok(driver)
    return warning(
        f"the engine keeps images with the storage driver {driver!r}: {_COPYING[driver]}",
        f'take "storage-driver" out of {appliance.options.engine_config} and put the data of the '
        "engine on ext4 or xfs; images are fetched or loaded again",
    )


def _ipv6(appliance: Appliance) -> Finding:
    network = table(appliance.settings("edged"), "moby_runtime").get("network")
    wanted = isinstance(network, dict) and network.get("ipv6") is True
    try:
        on = _config(appliance).get("ipv6") is True
    except (OSError, ValueError) as problem:
        return _broken(appliance, problem) if wanted else ignored("IPv6 is not asked for")
    if on:
        return ok("on")
    if not wanted:
        return ignored("IPv6 is not asked for")
    return error(
        "moby_runtime.network.ipv6 is true, and the engine has IPv6 off",
        f'set "ipv6": true in {appliance.options.engine_config}; {_NEXT_START}',
        fix=Fix(
            f"turned IPv6 on in {appliance.options.engine_config}; {_NEXT_START}",
            lambda: _write(appliance, {"ipv6": True}),
        ),
    )


def _logs(appliance: Appliance) -> Finding:
    try:
        config = _config(appliance)
    except (OSError, ValueError) as problem:
        return _broken(appliance, problem)
    driver = str(config.get("log-driver", "json-file"))
    options = table(config, "log-opts")
    if driver in _DROPPING or (driver == "json-file" and set(_LOG_OPTIONS) <= set(options)):
        return ok(driver)
    return warning(
        "what modules write is kept for ever and will fill the disk",
        f'set "log-driver": "local" in {appliance.options.engine_config}; {_NEXT_START}',
        f"log-driver {driver!r} without {' and '.join(set(_LOG_OPTIONS) - set(options))}",
        fix=Fix(
            f"limited the logs of modules in {appliance.options.engine_config}; {_NEXT_START}",
            lambda: _write(appliance, {"log-opts": {**_LOG_OPTIONS, **options}}),
        ),
    )


_NEEDS = ("aziot-edged-config-well-formed",)
CHECKS = (
    Check(
        "container-engine-uri",
        Section.EDGE,
        "the container engine answers",
        _answers,
        needs=_NEEDS,
    ),
    Check(
        "container-engine-dns",
        Section.EDGE,
        "containers have name servers of their own",
        _dns,
    ),
    Check(
        "container-engine-ipv6",
        Section.EDGE,
        "containers have IPv6 where it is asked for",
        _ipv6,
        needs=_NEEDS,
    ),
    Check(
        "container-engine-storage",
        Section.APPLIANCE,
        "the engine keeps images without copies",
        _storage,
        needs=("container-engine-uri",),
    ),
    Check(
        "container-engine-logrotate",
        Section.EDGE,
        "logs of modules are limited",
        _logs,
    ),
)
