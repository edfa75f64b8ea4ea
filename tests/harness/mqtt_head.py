"""Connections to the lab over MQTT without sockets, threads or a loop: bytes in, packets out.

Nothing a connection asks for happens before `run`, so that a test sees what is under way.
"""

import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from harness.lab import HUB, make_token
from skerry.base.log import get_logger
from skerry.heads.connection import Connection
from skerry.heads.links import Links
from skerry.heads.model import Telemetry
from skerry.heads.ports import Backend
from skerry.heads.routes import Answer, Request
from skerry.wire.identity import Identity
from skerry.wire.mqtt import Connect, Packet, Reader, encode
from skerry.wire.topics import user_name
from skerry_lab.cloud import Cloud
from skerry_lab.mqtt.backend import LabBackend
from skerry_lab.registry.model import Authentication, AuthType, Device

T = TypeVar("T")

KEY_TEXT, KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", b"k" * 32


@dataclass
class DirectHead:
    """A head on a lab in memory; `trouble` is raised in the place of work."""

    cloud: Cloud
    database: sqlite3.Connection
    links: Links = field(default_factory=Links)
    held: set[Connection] = field(default_factory=set)
    under_way: deque[Awaitable[None]] = field(default_factory=deque)
    batch: list[tuple[Connection, int | None, Telemetry]] = field(default_factory=list)
    trouble: Exception | None = None
    commits: int = 0

    def __post_init__(self) -> None:
        self.log = get_logger("lab")
        self.backend: Backend = LabBackend(self)

    def register(self, device_id: str) -> None:
        """Make a device with the key of all tests."""
        auth = Authentication(AuthType.SAS, KEY_TEXT)
        self.cloud.registry.put_device(Device(device_id, auth))

    def run(self) -> None:
        """Do what is under way, and what comes of it."""
        while self.under_way or self.batch:
            while self.under_way:
                _finish(cast("Coroutine[Any, Any, None]", self.under_way.popleft()))
            batch, self.batch = self.batch, []
            self.cloud.messages.append([message for _, _, message in batch])
            for connection, packet_id, _ in batch:
                connection.stored([] if packet_id is None else [packet_id])

    async def ado(self, work: Callable[[Cloud], T]) -> T:
        if self.trouble is not None:
            raise self.trouble
        self.commits += 1
        self.database.execute("SAVEPOINT work")
        try:
            return work(self.cloud)
        except BaseException:
            self.database.execute("ROLLBACK TO work")
            raise
        finally:
            self.database.execute("RELEASE work")

    async def answer(self, request: Request) -> Answer:
        return self.cloud.answer(request)

    def store(
        self, connection: Connection, packet_id: int | None, message: Telemetry, size_bytes: int
    ) -> None:
        assert size_bytes >= len(message.body)
        self.batch.append((connection, packet_id, message))

    def spawn(self, work: Awaitable[None]) -> None:
        self.under_way.append(work)

    def dirty(self, connection: Connection) -> None:
        pass

    def hold(self, connection: Connection) -> None:
        self.held.add(connection)

    def go_on(self, connection: Connection) -> None:
        self.held.discard(connection)


class DirectClient:
    """A client of such a head."""

    def __init__(self, head: DirectHead, device_id: str) -> None:
        self.head = head
        self.identity = Identity(device_id)
        self.connection = Connection(head, (), lambda: None, 0.0)
        self._reader = Reader()

    def hello(self, **changes: object) -> Connect:
        """Return the CONNECT of this client."""
        expiry = self.head.cloud.clock.now().timestamp() + 3600
        fields: dict[str, object] = {
            "client_id": str(self.identity),
            "username": user_name(HUB, str(self.identity), "2021-04-12"),
            "password": make_token(f"{HUB}/devices/{self.identity}", KEY, expiry).encode(),
        }
        return Connect(**{**fields, **changes})  # type: ignore[arg-type]

    def connect(self, **changes: object) -> list[Packet]:
        """Send CONNECT and return the answer."""
        self.send(self.hello(**changes))
        return self.answers()

    def send(self, *packets: Packet) -> None:
        """Send packets at once; nothing is done yet."""
        self.connection.received(b"".join(map(encode, packets)), 0.0)

    def answers(self) -> list[Packet]:
        """Do what is under way and return what the client is told."""
        self.head.run()
        return self.told()

    def told(self) -> list[Packet]:
        """Return what the client was told since the last time."""
        data = b"".join(self.connection.output)
        self.connection.output.clear()
        return list(self._reader.feed(data))


def _finish(work: Coroutine[Any, Any, None]) -> None:
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("the work waits for something that is not there")
