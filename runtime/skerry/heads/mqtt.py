"""The server of MQTT connections: sockets, time, and storing messages together.

Invariants
- Messages of all connections that come while others are being stored are stored together, in one
  transaction; the acknowledgements go out when it is on disk.
- Each connection is written to once per turn of the loop. One whose client does not read is closed
  when more than `_MAX_UNSENT_BYTES` wait for it; nobody is read from while too much waits for the
  database.
- Who is not admitted in time, however slowly bytes come, is silent for one and a half keep-alives,
  or whose token has expired, is closed.
- Messages that cannot be stored close the connections they came on, which send them again.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, cast

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.log import Logger
from skerry.heads.connection import Connection
from skerry.heads.links import Links
from skerry.heads.model import Telemetry
from skerry.heads.ports import Backend
from skerry.heads.routes import Request
from skerry.heads.tls import client_chain
from skerry.heads.websocket import Gate, WebSocket, WebSocketError

_CONNECT_SECONDS = 15.0
_LONGEST_SILENCE_SECONDS = 30 * 60.0
_LOOK_SECONDS = 1.0
_GOODBYE_SECONDS = 0.5
_READ_BYTES = 64 * 1024
_MAX_UNSENT_BYTES = 4 * 1024 * 1024
_MAX_CONNECTIONS = 4096
_MESSAGE_BYTES = 1024  # what a message takes beside its content
_PAUSE_BYTES, _RESUME_BYTES = 16 * 1024 * 1024, 8 * 1024 * 1024


class Reading(Protocol):
    """What can be stopped from giving bytes: a transport, the gate of a WebSocket."""

    def pause_reading(self) -> None:
        """Give nothing."""

    def resume_reading(self) -> None:
        """Give again."""


@dataclass(frozen=True)
class _Client:
    transport: asyncio.Transport
    write: Callable[[bytes], None]
    reading: Reading


class Transport(asyncio.Protocol):
    """A client on a socket of its own."""

    def __init__(self, head: "MqttHead") -> None:
        self._head = head
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands."""
        self._transport = cast("asyncio.Transport", transport)
        chain = client_chain(cast("ssl.SSLObject | None", transport.get_extra_info("ssl_object")))
        self._connection = self._head.accept(
            chain, _Client(self._transport, self._transport.write, self._transport)
        )

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._connection is not None:
            self._connection.received(data, self._head.now)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket has ended."""
        if self._connection is not None:
            self._head.forget(self._connection)
            self._connection.lost()


class MqttHead:
    """All MQTT connections of a hub; lives on the loop."""

    def __init__(self, backend: Backend, links: Links, clock: Clock, log: Logger) -> None:
        self.links = links
        self.log = log
        self.backend = backend
        self._clock = clock
        self._clients: dict[Connection, _Client] = {}
        self._held: set[Connection] = set()
        self._dirty: set[Connection] = set()
        self._batch: list[tuple[Connection, int | None, Telemetry]] = []
        self._batch_bytes = 0
        self._stored = asyncio.Event()
        self._stored.set()
        self._gone = asyncio.Event()
        self._gone.set()
        self._is_paused = False
        self._tasks: set[asyncio.Future[None]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def now(self) -> float:
        """Seconds of the loop."""
        return self._loop.time()

    def protocol(self) -> Transport:
        """Return what serves a new socket."""
        return Transport(self)

    def accept(self, chain: tuple[bytes, ...], client: _Client) -> Connection | None:
        """Take a new client in, unless there are too many."""
        if len(self._clients) >= _MAX_CONNECTIONS:
            client.transport.abort()
            return None
        connection = Connection(self, chain, lambda: self._end(connection), self.now)
        self._clients[connection] = client
        self._gone.clear()
        if self._is_paused:
            client.reading.pause_reading()
        return connection

    def forget(self, connection: Connection) -> None:
        """A client's transport has ended."""
        self._clients.pop(connection, None)
        self._held.discard(connection)
        self._dirty.discard(connection)
        if not self._clients:
            self._gone.set()

    def hold(self, connection: Connection) -> None:
        """Do not read from a connection."""
        client = self._clients.get(connection)
        if client is not None and connection not in self._held:
            self._held.add(connection)
            client.reading.pause_reading()

    def go_on(self, connection: Connection) -> None:
        """Read from a connection again, if it is held, unless nobody is read from now."""
        if connection in self._held:
            self._held.discard(connection)
            if not self._is_paused:
                self._clients[connection].reading.resume_reading()

    async def upgraded(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        rest: bytes,
    ) -> None:
        """Serve a client that speaks MQTT over WebSocket, until it ends."""
        stream = WebSocket(writer)
        if not stream.accept(request):
            return
        transport, gate = cast("asyncio.Transport", writer.transport), Gate()
        connection = self.accept(request.certificates, _Client(transport, stream.send, gate))
        if connection is None:
            return
        try:
            while not connection.is_closed:
                for data in stream.received(rest):
                    connection.received(data, self.now)
                if transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:  # pings, say
                    transport.abort()
                await gate.passed()
                if stream.is_ended or not (rest := await reader.read(_READ_BYTES)):
                    break
        except WebSocketError as error:
            connection.close(str(error))
        finally:
            self.forget(connection)
            connection.lost()

    async def run(self) -> None:
        """Look after connections until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            wall = self._clock.now().timestamp()
            for connection in list(self._clients):
                reason = overdue(connection, self.now, wall)
                if reason:
                    connection.close(reason)

    async def close(self) -> None:
        """End all connections, once what is being stored is stored."""
        await self._stored.wait()
        for connection in list(self._clients):
            connection.close("the hub stops")
        await self._all_gone()
        for client in list(self._clients.values()):
            client.transport.abort()
        await self._all_gone()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _all_gone(self) -> None:
        """Give transports a moment to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._gone.wait()

    # --- what a connection asks

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something beside."""
        # The work itself is the task: one that is cancelled before its first step would leave
        # behind what it should have waited for.
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: "asyncio.Future[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, SkerryError):
            self.log.error("a client cannot be served", reason=error)
        elif error is not None:
            self.log.exception("a client cannot be served", error)

    def dirty(self, connection: Connection) -> None:
        """Write for a connection at the end of this turn of the loop."""
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.add(connection)

    def store(
        self, connection: Connection, packet_id: int | None, message: Telemetry, size_bytes: int
    ) -> None:
        """Store a message with what else comes."""
        self._batch.append((connection, packet_id, message))
        self._batch_bytes += _MESSAGE_BYTES + size_bytes
        if self._stored.is_set():
            self._stored.clear()
            self._loop.call_soon(lambda: self.spawn(self._store_all()))
        if self._batch_bytes > _PAUSE_BYTES and not self._is_paused:
            self._is_paused = True
            self._read(wanted=False)

    async def _store_all(self) -> None:
        try:
            while self._batch:
                batch, self._batch = self._batch, []
                self._batch_bytes = 0
                await self._store_batch(batch)
                if self._is_paused and self._batch_bytes < _RESUME_BYTES:
                    self._is_paused = False
                    self._read(wanted=True)
        finally:
            self._stored.set()

    async def _store_batch(self, batch: list[tuple[Connection, int | None, Telemetry]]) -> None:
        try:
            refused = await self.backend.append([message for _, _, message in batch])
        except Exception as error:
            # Not stored, so not acknowledged: they come again.
            for connection in {connection for connection, _, _ in batch}:
                connection.close("its messages cannot be stored")
            if not isinstance(error, SkerryError):
                raise
            self.log.error("messages cannot be stored", reason=error)
            return
        for index, reason in refused.items():
            batch[index][0].close(f"a message cannot be stored: {reason}")
        _acknowledge([one for n, one in enumerate(batch) if n not in refused] if refused else batch)

    def _read(self, *, wanted: bool) -> None:
        for connection, client in self._clients.items():
            if not wanted:
                client.reading.pause_reading()
            elif connection not in self._held:
                client.reading.resume_reading()

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for connection in dirty:
            client = self._clients.get(connection)
            if client is None:
                continue
            data = b"".join(connection.output)
            connection.output.clear()
            if data and not client.transport.is_closing():
                client.write(data)
                if client.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
                    client.transport.abort()

    def _end(self, connection: Connection) -> None:
        """Close the transport of a connection, after what it still has to say."""
        client = self._clients.get(connection)
        if client is not None:
            self._dirty.add(connection)
            self._flush()
            self._held.discard(connection)
            client.reading.resume_reading()  # its last bytes, and its goodbye
            client.transport.close()


def _acknowledge(batch: list[tuple[Connection, int | None, Telemetry]]) -> None:
    stored: dict[Connection, list[int]] = {}
    for connection, packet_id, _ in batch:
        if packet_id is not None:
            stored.setdefault(connection, []).append(packet_id)
    for connection, packet_ids in stored.items():
        connection.stored(packet_ids)


def overdue(connection: Connection, now: float, wall: float) -> str:
    """Return why a connection has to end at this time; empty when it may stay."""
    if not connection.is_admitted:
        return "no CONNECT came" if now - connection.opened_at > _CONNECT_SECONDS else ""
    if connection.expires_at is not None and wall >= connection.expires_at:
        return "its token or certificate has expired"
    silent = now - connection.heard_at
    longest = connection.keep_alive_seconds * 1.5 or _LONGEST_SILENCE_SECONDS
    return "the client is silent" if silent > min(longest, _LONGEST_SILENCE_SECONDS) else ""
