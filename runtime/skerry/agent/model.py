"""What the agent reasons about: modules as wanted, as they are, and what it remembers of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

AGENT_MODULE = "edgeAgent"
SYSTEM_MODULES = frozenset({"edgeAgent", "edgeHub"})
MAX_STARTUP_ORDER = 4_294_967_295


class Status(StrEnum):
    """What a module shall do."""

    RUNNING = "running"
    STOPPED = "stopped"


class RestartPolicy(StrEnum):
    """When a module that ended is started again."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ON_UNHEALTHY = "on-unhealthy"
    ALWAYS = "always"


class RuntimeStatus(StrEnum):
    """How a module is, as reported; `backoff` and `failed` are the agent's own findings."""

    UNKNOWN = "unknown"
    BACKOFF = "backoff"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    DEAD = "dead"


@dataclass(frozen=True)
class Wanted:
    """A module of the deployment."""

    name: str
    image: str
    create_options: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    status: Status = Status.RUNNING
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    startup_order: int = MAX_STARTUP_ORDER
    depends_on: tuple[str, ...] = ()
    pull_policy: str = "on-create"
    version: str = ""

    @property
    def identity(self) -> str:
        """Return the module identity: system modules have a `$` in front."""
        return f"${self.name}" if self.name in SYSTEM_MODULES else self.name


@dataclass(frozen=True)
class Deployment:
    """All modules that are wanted, and those that cannot be used with the reason."""

    modules: Mapping[str, Wanted]
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Actual:
    """A module as edged reports it; times are aware UTC."""

    name: str
    image: str
    status: RuntimeStatus
    exit_code: int | None = None
    started: datetime | None = None
    exited: datetime | None = None
    description: str = ""


@dataclass(frozen=True)
class Memory:
    """What the agent remembers of a module between two looks.

    `spec` is the digest of what the container was created from; None means that the agent did not
    create it. `failures` counts failed attempts to create it since `spec_tried` last changed.
    """

    spec: str | None = None
    restarts: int = 0
    last_restart: datetime | None = None
    spec_tried: str | None = None
    failures: int = 0
    last_failure: datetime | None = None
