"""Which parts a support bundle has, in the order in which they are written.

Documents come first: what is masked in them is masked in the logs too. Names are upstream's where
upstream has the part (azure-iot-edge.md §7.4).

    check.json                    what `skerry check` says
    docker/{info,version,images}.json
    inspect/<module>.json         network/<network>.json
    config/<file>.json            config.toml and the settings of each service
    deployment/{deployment,reported,history}.json
    timeline.json                 the steps of the bootstrap, of this boot
    host/{network,disks,units}.txt
    logs/<module>_log.txt         logs/skerry-<service>.txt   logs/docker.txt   logs/kernel.txt
    manifest.json                 every part, and why one is missing
"""

import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from skerry import __version__
from skerry.base.client import ApiError, ServiceClient
from skerry.base.errors import SkerryError
from skerry.base.files import read_limited
from skerry.base.frames import split_frames
from skerry.base.log import STEP_MARK
from skerry.bundle.archive import Archive, reason_of
from skerry.bundle.commands import output_of, outputs_of
from skerry.bundle.scrub import Scrubber
from skerry.engine.model import LogQuery, LogStream

SERVICES = ("keyd", "certd", "tpmd", "identityd", "edged")
RUNTIME = ("edgeAgent", "edgeHub")
"""The modules that a bundle of the edge runtime alone has."""

_OWNED = "net.azure-devices.edge.owner=Microsoft.Azure.Devices.Edge.Agent"
_MAX_BYTES = 16 * 1024 * 1024
_API_VERSION = "2022-08-03"
_MGMT_SECONDS = 30
_REPORTS = (("reported", "/deployment/status"), ("history", "/deployment/history"))
_NETWORK = (
    ("ip", "address"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "-statistics", "link"),
    ("ss", "--listening", "--tcp", "--udp", "--numeric"),
    ("cat", "/etc/resolv.conf"),
    ("timedatectl", "show"),
)
_DISKS = (("df", "--human-readable"), ("df", "--inodes"), ("free", "--mebi"), ("uptime",))
_UNITS = (
    ("systemctl", "--no-pager", "--full", "status", "skerry-*", "docker.service"),
    ("systemctl", "--no-pager", "--failed"),
)


class EngineView(Protocol):
    """What a bundle asks of the container engine; every call raises EngineError and its kinds."""

    def containers(self, label: str) -> list[str]: ...

    def describe(self, name: str) -> dict[str, Any]: ...

    def describe_engine(self) -> dict[str, Any]: ...

    def describe_images(self) -> list[dict[str, Any]]: ...

    def describe_networks(self) -> list[dict[str, Any]]: ...

    def logs(self, name: str, query: LogQuery) -> LogStream: ...


@dataclass(frozen=True)
class Wanted:
    """What was asked for; times are unix seconds, `until` None means now."""

    since: float
    until: float | None = None
    runtime_only: bool = False
    within_edged: bool = False
    """edged has no network of its own, so it cannot say how the host's is."""


@dataclass(frozen=True)
class Sources:
    """Where a bundle looks."""

    engine: EngineView
    etc: Path
    management: Path
    check: Callable[[], object]
    say: Callable[[str], None]


def collect(archive: Archive, scrubber: Scrubber, sources: Sources, wanted: Wanted) -> None:
    """Write all parts and the manifest."""
    _learn(scrubber, sources.etc)
    sources.say("settings and deployment")
    _settings(archive, sources.etc)
    for name, route in _REPORTS:
        archive.document(f"deployment/{name}.json", _report(sources.management, route))
    sources.say("containers, images, networks")
    containers = _containers(archive, sources.engine, wanted)
    sources.say("checks")
    archive.document("check.json", sources.check)
    sources.say("the host")
    _host(archive, wanted)
    for name, identifier in containers:
        sources.say(f"log of {name}")
        archive.log(f"logs/{name}_log.txt", _log_of(sources.engine, identifier, wanted))
    for service in SERVICES:
        sources.say(f"log of {service}")
        archive.log(f"logs/skerry-{service}.txt", _journal(wanted, f"--unit=skerry-{service}"))
    sources.say("logs of the engine and the kernel")
    engine_units = ("--unit=docker", "--unit=containerd")
    archive.log("logs/docker.txt", _journal(wanted, *engine_units))
    archive.log("logs/kernel.txt", _journal(wanted, "--dmesg"))
    archive.finish(
        {
            "version": __version__,
            "since": _moment(wanted.since),
            "until": None if wanted.until is None else _moment(wanted.until),
            "edge_runtime_only": wanted.runtime_only,
        }
    )


def _learn(scrubber: Scrubber, etc: Path) -> None:
    """Know the secrets of the configuration in force; without root there is nothing to read."""
    try:
        found = json.loads(read_limited(etc / "current" / "secrets.json", _MAX_BYTES))
    except (OSError, SkerryError, ValueError):
        return
    for secret in _texts(found):
        scrubber.learn(secret)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _settings(archive: Archive, etc: Path) -> None:
    archive.document("config/config.json", lambda: _toml(etc / "config.toml"))
    for service in SERVICES:
        path = etc / "current" / f"{service}.toml"
        archive.document(f"config/{service}.json", partial(_toml, path))
    archive.document(
        "deployment/deployment.json",
        lambda: json.loads(read_limited(etc / "current" / "deployment.json", _MAX_BYTES)),
    )


def _toml(path: Path) -> object:
    try:
        return tomllib.loads(read_limited(path, _MAX_BYTES).decode())
    except tomllib.TOMLDecodeError as error:
        # the words of the parser may quote the text
        raise SkerryError(f"{path} is not TOML; see: skerry config check {path}") from error


def _report(management: Path, route: str) -> Callable[[], object]:
    def ask() -> object:
        try:
            return ServiceClient(management, _API_VERSION, _MGMT_SECONDS).get(route)
        except ApiError as error:
            if error.status == 404:
                return {"state": str(error)}
            raise

    return ask


def _containers(archive: Archive, engine: EngineView, wanted: Wanted) -> list[tuple[str, str]]:
    """Write what the engine says; returns name and id of the modules' containers."""
    archive.document("docker/info.json", engine.describe_engine)
    archive.document("docker/images.json", engine.describe_images)
    for network in _listed(archive, "network", engine.describe_networks):
        archive.document(f"network/{_file(network.get('Name'))}.json", partial(_same, network))
    found = []
    for identifier in _listed(archive, "inspect", lambda: engine.containers(_OWNED)):
        try:
            container = engine.describe(identifier)
        except SkerryError as error:
            archive.left_out(f"inspect/{identifier[:12]}.json", reason_of(error))
            continue
        name = _file(str(container.get("Name", identifier)).lstrip("/"))
        if wanted.runtime_only and name not in RUNTIME:
            continue
        archive.document(f"inspect/{name}.json", partial(_same, container))
        found.append((name, identifier))
    return sorted(found)


def _listed(archive: Archive, name: str, ask: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    try:
        return ask()
    except SkerryError as error:
        archive.left_out(name, reason_of(error))
        return []


def _same(document: object) -> object:
    return document


def _file(name: object) -> str:
    """Return a name that is no path."""
    return "".join(c if c.isalnum() or c in "-_.$" else "_" for c in str(name)).lstrip(".") or "_"


def _host(archive: Archive, wanted: Wanted) -> None:
    archive.document("timeline.json", _timeline)
    if wanted.within_edged:
        archive.left_out(
            "host/network.txt", "edged has no network; use: sudo skerry support-bundle"
        )
    else:
        archive.log("host/network.txt", lambda: outputs_of(*_NETWORK))
    archive.log("host/disks.txt", lambda: outputs_of(*_DISKS))
    archive.log("host/units.txt", lambda: outputs_of(*_UNITS))


def _timeline() -> object:
    units = [f"--unit=skerry-{name}" for name in (*SERVICES, "seed")]
    text = b"".join(output_of(["journalctl", "--boot", "--output=cat", "--quiet", *units]))
    lines = (line.partition(STEP_MARK)[2] for line in text.decode("utf-8", "replace").splitlines())
    return {"steps": [json.loads(line) for line in lines if line.startswith("{")]}


def _log_of(engine: EngineView, identifier: str, wanted: Wanted) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        query = LogQuery(
            follow=False, tail=None, since=wanted.since, until=wanted.until, timestamps=True
        )
        stream = engine.logs(identifier, query)
        try:
            for _, data in split_frames(stream):
                yield data
        finally:
            stream.close()

    return read


def _journal(wanted: Wanted, *units: str) -> Callable[[], Iterator[bytes]]:
    command = ["journalctl", "--no-pager", "--quiet", "--output=short-iso-precise", *units]
    command.append(f"--since=@{int(wanted.since)}")
    if wanted.until is not None:
        command.append(f"--until=@{int(wanted.until)}")
    return lambda: output_of(command)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
