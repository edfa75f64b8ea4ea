"""What the engine tells, as data, and the calls that edged makes.

Bodies of `create` and `create_network` are the Docker Engine API's own JSON: createOptions are
written in it, so nothing is translated and nothing is lost.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class State:
    """How a container is: `status` is Docker's word (created, running, exited, …)."""

    status: str
    exit_code: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""
    health: str = ""

    @property
    def running(self) -> bool:
        return self.status == "running"


@dataclass(frozen=True)
class Container:
    """One container as inspected."""

    id: str
    name: str
    image: str
    image_id: str
    labels: Mapping[str, str]
    state: State
    tty: bool = False
    ports: frozenset[tuple[int, str]] = frozenset()
    """What it publishes on the machine: number and protocol."""


@dataclass(frozen=True)
class Image:
    """One image in the engine's store."""

    id: str
    tags: tuple[str, ...]
    os: str = ""
    architecture: str = ""


@dataclass(frozen=True)
class EngineInfo:
    """The engine and the machine under it."""

    server_version: str
    os_type: str
    operating_system: str
    kernel_version: str
    architecture: str
    cpus: int
    memory_bytes: int
    data_root: str = ""
    storage_driver: str = ""


@dataclass(frozen=True)
class RegistryAuth:
    """Credentials in the engine's own names (username, password, serveraddress, …)."""

    fields: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class LogQuery:
    """Which part of a container's output; times are unix seconds, `tail` None is all of it."""

    follow: bool = False
    tail: int | None = None
    since: float | None = None
    until: float | None = None
    timestamps: bool = False


class LogStream(Protocol):
    """Output of a container in Docker's frames; `close` ends it from any thread."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class Engine(Protocol):
    """The container engine; every call raises EngineError and its kinds."""

    def info(self) -> EngineInfo: ...

    def containers(self, label: str) -> list[str]:
        """Return the ids of all containers with a label `name=value`, running or not."""
        ...

    def marks(self, label: str) -> dict[str, str]:
        """Return the same ids, each with a mark that is another when its container is.

        A mark is empty where the engine's words could also be those of another moment: it tells
        ages of more than a minute only. What has the same mark as half a minute ago is the same.
        """
        ...

    def inspect(self, name: str) -> Container: ...

    def create(self, name: str, body: Mapping[str, object]) -> str:
        """Create a container and return its id; the image must be there."""
        ...

    def start(self, name: str) -> None:
        """Start a container; one that runs already is no error."""
        ...

    def stop(self, name: str, timeout_seconds: int) -> None:
        """Stop a container; one that has stopped already is no error."""
        ...

    def restart(self, name: str, timeout_seconds: int) -> None: ...

    def remove(self, name: str) -> None:
        """Remove a container, running or not; its volumes stay."""
        ...

    def wait(self, name: str, timeout_seconds: float) -> None:
        """Return when a container has ended or is gone, or after the time."""
        ...

    def logs(self, name: str, query: LogQuery) -> LogStream: ...

    def stats(self, name: str) -> dict[str, object]:
        """Return one sample of a container's resource use, in Docker's JSON."""
        ...

    def image(self, reference: str) -> Image: ...

    def pull(self, reference: str, auth: RegistryAuth | None) -> None:
        """Fetch an image; raises PullError, also when nothing arrives for minutes."""
        ...

    def load(self, archive: Path) -> None: ...

    def tag(self, image_id: str, reference: str) -> None: ...

    def images_in_use(self) -> set[str]:
        """Return the ids of the images of all containers, running or not, whosever they are."""
        ...

    def remove_image(self, image_id: str) -> None:
        """Remove an image with all its names; raises EngineConflictError while it is in use."""
        ...

    def networks(self, name: str) -> list[str]:
        """Return the ids of the networks of exactly this name."""
        ...

    def create_network(self, body: Mapping[str, object]) -> str: ...


def parse_time(text: str) -> datetime | None:
    """Read one of the engine's times; its zero, the year 1, means never."""
    if not text or text.startswith("0001-"):
        return None
    whole, _, rest = text.rstrip("Z").partition(".")
    try:
        if "+" in rest or rest.count("-"):
            return datetime.fromisoformat(text).astimezone(UTC)
        moment = datetime.fromisoformat(whole)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    # nine digits come, six fit
    return moment.replace(microsecond=int((rest + "000000")[:6]), tzinfo=UTC)
