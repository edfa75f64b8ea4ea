"""What a connection asks of the server that it belongs to, and how its client said who it is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from skerry.base.log import Logger
from skerry.wire.topics import UserName
from skerry_lab.cloud import Cloud
from skerry_lab.dps.mqtt import DpsLink
from skerry_lab.identity import Identity
from skerry_lab.links import Links
from skerry_lab.messages.model import Telemetry

if TYPE_CHECKING:
    from skerry_lab.mqtt.connection import Connection

T = TypeVar("T")


class Head(Protocol):
    """What a connection asks of the server that it belongs to."""

    links: Links
    log: Logger

    async def ado(self, work: Callable[[Cloud], T]) -> T:
        """Run work on the database's thread, in one transaction."""

    def dps(self) -> DpsLink:
        """Return a new client's side of DPS."""

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
