"""What the agent reasons about: modules as wanted, as they are, and what it remembers of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

AGENT_MODULE = "edgeAgent"
HUB_MODULE = "edgeHub"
SYSTEM_MODULES = frozenset({AGENT_MODULE, HUB_MODULE})
MAX_STARTUP_ORDER = 4_294_967_295
TRIAL_SECONDS = 30.0
"""How long a new deployment has to hold, where it does not say so itself (`trialSeconds`)."""


class Status(StrEnum):
    """What a module shall do."""

    RUNNING = "running"
    STOPPED = "stopped"


class RestartPolicy(StrEnum):
    """When a module that ended is started again; nobody probes health, so two mean the same."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ON_UNHEALTHY = "on-unhealthy"
    ALWAYS = "always"


class RuntimeStatus(StrEnum):
    """How a module is, as reported; `backoff` and some `failed` are the agent's own findings."""

    UNKNOWN = "unknown"
    BACKOFF = "backoff"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    DEAD = "dead"


class ReadinessKind(StrEnum):
    """How a module is asked whether it is ready."""

    HEALTHCHECK = "healthcheck"
    TCP = "tcp"
    HTTP = "http"
    LOG = "log"


@dataclass(frozen=True)
class Readiness:
    """When a module counts as ready: its own healthcheck, a port, an answer 2xx or 3xx, a line."""

    kind: ReadinessKind
    port: int = 0
    path: str = "/"
    pattern: str = ""
    timeout_seconds: float = 60.0

    def __str__(self) -> str:
        """Return it in a few words."""
        match self.kind:
            case ReadinessKind.HEALTHCHECK:
                return "healthcheck"
            case ReadinessKind.LOG:
                return f"log {self.pattern!r}"
            case ReadinessKind.TCP:
                return f"tcp port {self.port}"
            case ReadinessKind.HTTP:
                return f"http port {self.port}, path {self.path!r}"


ENDED = (RuntimeStatus.STOPPED, RuntimeStatus.FAILED)


@dataclass(frozen=True)
class Wanted:
    """A module of the deployment.

    `context` is what the agent adds to its environment and a container must be made anew for, when
    it changes: the names of device and hub. `auth` may hold a password: it is never reported.
    """

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
    readiness: Readiness | None = None
    context: str = ""
    secrets: tuple[str, ...] = ()
    signatures: tuple[Mapping[str, str], ...] = ()
    auth: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def identity(self) -> str:
        """Return the module identity: system modules have a `$` in front."""
        return identity_of(self.name)


@dataclass(frozen=True)
class Deployment:
    """All modules that are wanted, and those that cannot be used with the reason.

    `agent` is the agent's own entry, as it was written: edged looks after that container. `runtime`
    are the settings of the runtime without passwords.
    """

    modules: Mapping[str, Wanted]
    refused: Mapping[str, str] = field(default_factory=dict)
    agent: Mapping[str, object] = field(default_factory=dict)
    runtime: Mapping[str, object] = field(default_factory=dict)
    version: int = 0
    trial_seconds: float = TRIAL_SECONDS


@dataclass(frozen=True)
class Actual:
    """A module as edged reports it; times are aware UTC, `digest` that of what it was made from."""

    name: str
    image: str
    status: RuntimeStatus
    exit_code: int | None = None
    started: datetime | None = None
    exited: datetime | None = None
    description: str = ""
    image_id: str = ""
    digest: str | None = None
    health: str = ""


@dataclass(frozen=True)
class Memory:
    """What the agent remembers of a module between two looks.

    `spec` is the digest of what the container was created from; None means that the agent did not
    create it. `owed` is a start that no failure of the module made necessary: it is neither delayed
    nor counted. `failures` counts failed steps since `spec_tried` last changed; `reason` is what
    was said about the last of them.
    """

    spec: str | None = None
    restarts: int = 0
    last_restart: datetime | None = None
    owed: bool = False
    spec_tried: str | None = None
    failures: int = 0
    last_failure: datetime | None = None
    reason: str = ""


def identity_of(name: str) -> str:
    """Return the identity of a module."""
    return f"${name}" if name in SYSTEM_MODULES else name
