"""What the engine tells and is told, and the few calls that edged makes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

_NO_TIME = "0001-01-01T00:00:00Z"


class State(StrEnum):
    """The state of a container, in the engine's words."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class EngineInfo:
    """The engine and the machine that it runs on."""

    server_version: str
    operating_system: str
    architecture: str
    cpus: int
    total_memory_bytes: int


@dataclass(frozen=True)
class Image:
    """An image of the engine's store; `id` is `sha256:…` of its configuration."""

    id: str
    size_bytes: int


@dataclass(frozen=True)
class Container:
    """A container; times are RFC 3339 as the engine writes them, None where there was no event."""

    id: str
    name: str
    image: str
    image_id: str
    labels: Mapping[str, str]
    state: State
    exit_code: int
    started: str | None
    finished: str | None


@dataclass(frozen=True)
class RegistryAuth:
    """A login at a registry, the fields of the engine's AuthConfig."""

    fields: Mapping[str, str]


@dataclass(frozen=True)
class AddressPool:
    """One IPAM entry of a network."""

    subnet: str | None = None
    gateway: str | None = None
    ip_range: str | None = None


@dataclass(frozen=True)
class Network:
    """A bridge network to create."""

    name: str
    ipv6: bool = False
    pools: tuple[AddressPool, ...] = ()


@dataclass(frozen=True)
class LogOptions:
    """Which part of a log; times are unix seconds, `tail` is a number of lines or `all`."""

    follow: bool = False
    tail: str = "all"
    since: str | None = None
    until: str | None = None
    timestamps: bool = False


class Engine(Protocol):
    """The container engine. Every call may raise EngineError and its kinds."""

    def info(self) -> EngineInfo: ...

    def image(self, reference: str) -> Image | None:
        """Return an image by reference or id, None when the engine does not have it."""
        ...

    def load(self, archive: Path) -> None:
        """Load an image archive."""
        ...

    def pull(self, reference: str, auth: RegistryAuth | None) -> None: ...

    def networks(self) -> tuple[str, ...]:
        """Return the names of the networks."""
        ...

    def create_network(self, network: Network) -> None: ...

    def create(self, name: str, body: Mapping[str, object]) -> str:
        """Create a container from the engine's own create body; returns its id."""
        ...

    def start(self, name: str) -> None:
        """Start a container; one that runs already is fine."""
        ...

    def stop(self, name: str, timeout_seconds: int) -> None:
        """Stop a container; one that is stopped already is fine."""
        ...

    def restart(self, name: str, timeout_seconds: int) -> None: ...

    def remove(self, name: str) -> None:
        """Remove a container, running or not; its volumes stay."""
        ...

    def container(self, name: str) -> Container:
        """Return a container by name or id; raises NotFoundError."""
        ...

    def containers(self, label: str) -> tuple[str, ...]:
        """Return the names of all containers with a label `key=value`, running or not."""
        ...

    def logs(self, name: str, options: LogOptions) -> Iterator[bytes]:
        """Return the log as the engine frames it: 8 bytes of header before each piece."""
        ...

    def stats(self, name: str) -> Mapping[str, object]:
        """Return the engine's measurements of a running container."""
        ...

    def wait(self, name: str, timeout_seconds: float) -> None:
        """Return when a container has stopped or is gone, or after the time."""
        ...


@dataclass(frozen=True)
class _Raw:
    """A JSON object of the engine, read without trusting its shape."""

    value: object = field(default_factory=dict)

    def at(self, *path: str) -> object:
        value = self.value
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def text(self, *path: str) -> str:
        value = self.at(*path)
        return value if isinstance(value, str) else ""

    def number(self, *path: str) -> int:
        value = self.at(*path)
        return value if isinstance(value, int) else 0


def info_of(answer: object) -> EngineInfo:
    """Read `GET /info`."""
    raw = _Raw(answer)
    return EngineInfo(
        server_version=raw.text("ServerVersion"),
        operating_system=raw.text("OperatingSystem"),
        architecture=raw.text("Architecture"),
        cpus=raw.number("NCPU"),
        total_memory_bytes=raw.number("MemTotal"),
    )


def image_of(answer: object) -> Image:
    """Read `GET /images/{name}/json`."""
    raw = _Raw(answer)
    return Image(raw.text("Id"), raw.number("Size"))


def container_of(answer: object) -> Container:
    """Read `GET /containers/{name}/json`."""
    raw = _Raw(answer)
    labels = raw.at("Config", "Labels")
    state = raw.text("State", "Status")
    return Container(
        id=raw.text("Id"),
        name=raw.text("Name").removeprefix("/"),
        image=raw.text("Config", "Image"),
        image_id=raw.text("Image"),
        labels=dict(labels) if isinstance(labels, dict) else {},
        state=State(state) if state in State.__members__.values() else State.UNKNOWN,
        exit_code=raw.number("State", "ExitCode"),
        started=_time(raw.text("State", "StartedAt")),
        finished=_time(raw.text("State", "FinishedAt")),
    )


def _time(text: str) -> str | None:
    return text if text and text != _NO_TIME else None
