"""What only a container can tell: its clock, names it resolves, what it reaches.

One container of the diagnostics image per network does all of it at once and says so in JSON; the
checks read the answer. Where the engine or the image is missing they are skipped and say why.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any

from skerry import __version__
from skerry.base.errors import SkerryError
from skerry.check.appliance import Appliance, table
from skerry.check.checks.cloud import PORTS, upstream_of
from skerry.check.checks.names import parent_of
from skerry.check.model import Check, Finding, Section, error, ignored, ok, skipped
from skerry.engine.errors import EngineError, EngineNotFoundError

DEFAULT_IMAGE = f"localhost/skerry/diagnostics:{__version__}"
_SECONDS = 25
_TOLERATED_SECONDS = 10.0
_DEFAULT_BRIDGE = "bridge"
_MOUNT = "/run/skerry-mgmt.sock"


_WITHOUT_RIGHTS: Mapping[str, object] = {
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "Memory": 64 << 20,
    "PidsLimit": 32,
    # the answer is read from the log, which not every driver gives back
    "LogConfig": {"Type": "local"},
}


class _NoImageError(SkerryError):
    """The diagnostics image is not on this device."""


def modules_network(appliance: Appliance) -> str:
    """Return the name of the modules' network."""
    network = table(appliance.settings("edged"), "moby_runtime").get("network", "azure-iot-edge")
    return str(network.get("name") if isinstance(network, dict) else network)


def _probe(appliance: Appliance, network: str) -> Mapping[str, Any]:
    """Return what a container in a network told; once for all checks."""
    return appliance.facts.once(f"probe {network}", lambda: _run(appliance, network))


def _run(appliance: Appliance, network: str) -> Mapping[str, Any]:
    image = appliance.options.diagnostics_image or DEFAULT_IMAGE
    try:
        appliance.engine().describe_image(image)
    except EngineNotFoundError as problem:
        raise _NoImageError(
            f"the image {image} is not on this device; name one with --diagnostics-image-name"
        ) from problem
    host: dict[str, object] = {"NetworkMode": network, **_WITHOUT_RIGHTS}
    if network != _DEFAULT_BRIDGE:
        socket = str(appliance.socket("edged"))
        host["Mounts"] = [{"Type": "bind", "Source": socket, "Target": _MOUNT, "ReadOnly": True}]
    # the agent's account: the management API answers no other in a container
    body = {
        "Image": image,
        "Cmd": _command(appliance, network),
        "User": "13622:13622",
        "HostConfig": host,
    }
    before = appliance.clock.now().timestamp()
    status, output = appliance.engine().run_once(body, _SECONDS)
    after = appliance.clock.now().timestamp()
    try:
        told = json.loads(output)
    except ValueError as problem:
        raise SkerryError(
            f"the diagnostics container ended with status {status} and no answer: "
            f"{output.strip()[:200]!r}"
        ) from problem
    return {**told, "before": before, "after": after}


def _command(appliance: Appliance, network: str) -> list[str]:
    words = ["probe"]
    host = _upstream(appliance)
    if host is not None:
        words += [word for port in PORTS.values() for word in ("--connect", f"{host}:{port}")]
    parent = parent_of(appliance)
    if parent is not None:
        words += ["--resolve", parent]
    if network != _DEFAULT_BRIDGE:
        words += ["--management", _MOUNT]
    return words


def _upstream(appliance: Appliance) -> str | None:
    try:
        return upstream_of(appliance)
    except SkerryError:
        return None


def _asked(appliance: Appliance, network: str) -> Mapping[str, Any] | Finding:
    try:
        return _probe(appliance, network)
    except _NoImageError as problem:
        return skipped(str(problem))
    except EngineError as problem:
        return error(
            f"no container can be started on network {network!r}: {problem}",
            "see: journalctl -u docker -u skerry-edged",
        )


def _clock(appliance: Appliance) -> Finding:
    told = _asked(appliance, modules_network(appliance))
    if isinstance(told, Finding):
        return told
    inside = float(told["time"])
    apart = max(told["before"] - inside, inside - told["after"], 0.0)
    if apart >= _TOLERATED_SECONDS:
        return error(
            f"clocks of containers are {apart:.0f} s off the host's",
            "containers share the kernel's clock: look for a time namespace or a library "
            "(faketime) in the image",
        )
    return ok(f"within {max(apart, 1):.0f} s")


def _management(appliance: Appliance) -> Finding:
    told = _asked(appliance, modules_network(appliance))
    if isinstance(told, Finding):
        return told
    problem = told.get("management")
    if problem:
        return error(
            f"a container cannot use the management API: {problem}",
            "look at the rights of /run/skerry/mgmt.sock: sudo systemctl restart "
            "skerry-edged-mgmt.socket",
        )
    return ok("GET /modules")


def _resolve(appliance: Appliance) -> Finding:
    parent = parent_of(appliance)
    if parent is None:
        return ignored("this device has no parent")
    told = _asked(appliance, modules_network(appliance))
    if isinstance(told, Finding):
        return told
    problem = table(told, "resolved").get(parent)
    if problem:
        return error(
            f"containers cannot resolve the parent {parent!r}: {problem}",
            "name the parent in DNS, or give name servers to containers: skerry check "
            "container-engine-dns",
        )
    return ok(parent)


def _connect(appliance: Appliance, *, protocol: str, default: bool) -> Finding:
    host = upstream_of(appliance)
    if host is None:
        return ignored("this device stands alone: it has no hub")
    spoken = _spoken(appliance)
    if spoken and protocol not in spoken:
        return ignored(f"the agent speaks {' and '.join(spoken)} upstream")
    network = _DEFAULT_BRIDGE if default else modules_network(appliance)
    told = _asked(appliance, network)
    if isinstance(told, Finding):
        return told
    target = f"{host}:{PORTS[protocol]}"
    problem = table(told, "connected").get(target)
    if problem:
        return error(
            f"containers on network {network!r} cannot reach {target}: {problem}",
            "compare with host-connect-iothub-*: if the host reaches it, look at firewall rules "
            "for forwarded packets (sudo nft list ruleset; sysctl net.ipv4.ip_forward)",
        )
    return ok(target)


def _spoken(appliance: Appliance) -> tuple[str, ...]:
    agent = table(table(appliance.settings("edged"), "agent"), "env")
    chosen = str(agent.get("UpstreamProtocol", "")).lower()
    return {"amqp": ("amqp",), "mqtt": ("mqtt",)}.get(chosen, ("mqtt", "https"))


_NEEDS = ("aziot-edged-config-well-formed", "identityd-config-well-formed", "container-engine-uri")
_ONLINE = (*_NEEDS, "network", "identityd-running")

CHECKS = (
    Check(
        "container-resolve-parent-hostname",
        Section.EDGE,
        "containers resolve the name of the parent",
        _resolve,
        needs=_NEEDS,
    ),
    Check(
        "connect-management-uri",
        Section.EDGE,
        "containers can use the management API",
        _management,
        needs=(*_NEEDS, "edged-running"),
    ),
    Check(
        "container-local-time",
        Section.EDGE,
        "clocks of containers are the host's",
        _clock,
        needs=_NEEDS,
    ),
    *(
        Check(
            f"container-{word}connect-upstream-{protocol}",
            Section.EDGE_LINK,
            f"containers on {where} reach the hub or parent on port {port}",
            functools.partial(_connect, protocol=protocol, default=bool(word)),
            needs=_ONLINE,
        )
        for word, where in (("default-", "the default network"), ("", "the modules' network"))
        for protocol, port in PORTS.items()
    ),
)
