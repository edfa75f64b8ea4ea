"""What heads ask of the hub behind them, and what connections ask of their head."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from skerry.base.log import Logger
from skerry.heads.links import Links
from skerry.heads.model import Outgoing, Telemetry
from skerry.wire.identity import Identity
from skerry.wire.mqtt import Connect
from skerry.wire.topics import UserName

if TYPE_CHECKING:
    from skerry.heads.connection import Connection

ACCEPTED, REFUSED_PROTOCOL, REFUSED_ID, REFUSED_LATER, REFUSED_NAME, REFUSED = range(6)
"""Codes of a CONNACK."""


@dataclass(frozen=True)
class Claim:
    """How a client said who it is; checked again whenever its identity changes."""

    name: UserName
    token: str | None
    certificates: tuple[bytes, ...]

    @property
    def identity(self) -> Identity:
        """Who it says it is."""
        return Identity(self.name.device_id, self.name.module_id)


@dataclass(frozen=True)
class Admitted:
    """A client that may stay until `expires_at` (seconds since 1970; None for ever).

    `filters` are the subscriptions of its session, with their QoS; None without a session.
    """

    expires_at: float | None = None
    filters: Mapping[str, int] | None = None


class Service(Protocol):
    """Another service behind the same port, such as DPS: it has CONNECT and PUBLISH to itself."""

    async def connect(self, packet: Connect, certificates: Sequence[bytes]) -> int:
        """Return the code of the CONNACK."""

    async def publish(self, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        """Answer a publication with topics and payloads. Raises: TopicError."""


class Backend(Protocol):
    """The hub behind the heads.

    What it raises as SkerryError is told to the client with `errors.status_of`, or ends its
    connection; everything that it returns from is on disk.
    """

    async def connect(self, claim: Claim, *, keeps_session: bool) -> Admitted:
        """Judge a client; without `keeps_session` its session ends. Raises: AnswerError, …."""

    async def check(self, claim: Claim) -> float | None:
        """Judge again; returns when its proof ends. Raises: AnswerError: it has to go."""

    async def remember(
        self, identity: Identity, filters: Callable[[], Mapping[str, int] | None]
    ) -> None:
        """Keep a session's subscriptions, as they are when that is done; None if it has ended."""

    async def twin(self, identity: Identity) -> Mapping[str, object]:
        """Return `{"desired": {…, "$version"}, "reported": {…, "$version"}}`."""

    async def report(self, identity: Identity, patch: object) -> int:
        """Change reported properties; returns their version."""

    async def append(self, batch: Sequence[Telemetry]) -> Mapping[int, str]:
        """Store messages; returns why not, by index. Raises when none could be stored."""

    def takes(self, identity: Identity, filters: Mapping[str, int]) -> bool:
        """Tell whether `take` makes sense for a client with these subscriptions."""

    async def take(
        self, identity: Identity, filters: Mapping[str, int], limit: int
    ) -> Sequence[Outgoing]:
        """Return messages to the client, which are its until they are settled or given back."""

    async def settle(self, identity: Identity, tokens: Sequence[str]) -> None:
        """The client has these messages; what is not its any more is passed over."""

    async def give_back(self, identity: Identity, tokens: Sequence[str]) -> None:
        """The client has gone without these."""

    def service(self, packet: Connect) -> Service | None:
        """Return what a CONNECT is for if it is not the hub."""


class Head(Protocol):
    """What a connection asks of the server that it belongs to."""

    links: Links
    log: Logger
    backend: Backend

    def store(
        self, connection: "Connection", packet_id: int | None, message: Telemetry, size_bytes: int
    ) -> None:
        """Store a message with others, then acknowledge it by `stored`."""

    def hold(self, connection: "Connection") -> None:
        """Do not read from the connection."""

    def go_on(self, connection: "Connection") -> None:
        """Read from the connection again, if it is held."""

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something beside; what it raises closes nothing but is logged."""

    def dirty(self, connection: "Connection") -> None:
        """Take the connection's `output` at the end of this turn of the loop."""
