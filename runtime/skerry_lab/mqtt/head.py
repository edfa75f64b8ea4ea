"""The server of MQTT connections: sockets, time, and storing messages together.

Invariants
- Messages of all connections that come while others are being stored are stored together, in one
  transaction; the acknowledgements go out when it is on disk.
- Each connection is written to once per turn of the loop. One whose client does not read is closed
  when more than `_MAX_UNSENT_BYTES` wait for it; nobody is read from while too much waits for the
  database.
- Who does not send CONNECT in time, is silent for one and a half keep-alives, or whose token has
  expired, is closed.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.log import Logger
from skerry_lab.cloud import Cloud
from skerry_lab.dps.mqtt import DpsLink
from skerry_lab.links import Links
from skerry_lab.messages.model import Telemetry
from skerry_lab.mqtt.connection import Connection
from skerry_lab.mqtt.websocket import WebSocket, WebSocketError
from skerry_lab.routes import Request
from skerry_lab.store import Store
from skerry_lab.tls import client_chain

T = TypeVar("T")

_CONNECT_SECONDS = 15.0
_LONGEST_SILENCE_SECONDS = 30 * 60.0
_LOOK_SECONDS = 1.0
_GOODBYE_SECONDS = 0.5
_READ_BYTES = 64 * 1024
_MAX_UNSENT_BYTES = 4 * 1024 * 1024
_MAX_CONNECTIONS = 4096
_PAUSE_BYTES, _RESUME_BYTES = 16 * 1024 * 1024, 8 * 1024 * 1024


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
        self._connection = self._head.accept(chain, self._transport.write, self._transport)

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
    """All MQTT connections of a lab; lives on the loop."""

    def __init__(self, store: Store, links: Links, clock: Clock, log: Logger) -> None:
        self.links = links
        self.log = log
        self._store = store
        self._clock = clock
        self._connections: dict[Connection, asyncio.Transport] = {}
        self._writers: dict[Connection, Callable[[bytes], None]] = {}
        self._dirty: set[Connection] = set()
        self._batch: list[tuple[Connection, int | None, Telemetry]] = []
        self._batch_bytes = 0
        self._stored = asyncio.Event()
        self._stored.set()
        self._gone = asyncio.Event()
        self._gone.set()
        self._is_paused = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def now(self) -> float:
        """Seconds of the loop."""
        return self._loop.time()

    def protocol(self) -> Transport:
        """Return what serves a new socket."""
        return Transport(self)

    def accept(
        self,
        chain: tuple[bytes, ...],
        write: Callable[[bytes], None],
        transport: asyncio.Transport,
    ) -> Connection | None:
        """Take a new client in, unless there are too many."""
        if len(self._connections) >= _MAX_CONNECTIONS:
            transport.abort()
            return None
        connection = Connection(self, chain, lambda: self._end(connection), self.now)
        self._connections[connection] = transport
        self._gone.clear()
        self._writers[connection] = write
        return connection

    def forget(self, connection: Connection) -> None:
        """A client's transport has ended."""
        self._connections.pop(connection, None)
        self._writers.pop(connection, None)
        self._dirty.discard(connection)
        if not self._connections:
            self._gone.set()

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
        transport = cast("asyncio.Transport", writer.transport)
        connection = self.accept(request.certificates, stream.send, transport)
        if connection is None:
            return
        try:
            while not connection.is_closed:
                for data in stream.received(rest):
                    connection.received(data, self.now)
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
            for connection in list(self._connections):
                reason = _overdue(connection, self.now, wall)
                if reason:
                    connection.close(reason)

    async def close(self) -> None:
        """End all connections, once what is being stored is stored."""
        await self._stored.wait()
        for connection in list(self._connections):
            connection.close("the lab stops")
        await self._all_gone()
        for transport in list(self._connections.values()):
            transport.abort()
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

    async def ado(self, work: Callable[[Cloud], T]) -> T:
        """Run work on the database's thread."""
        return await self._store.ado(work)

    def dps(self) -> DpsLink:
        """Return a new client's side of DPS."""
        return DpsLink(self._store)

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something beside."""
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except SkerryError as error:
            self.log.error("a client cannot be served", reason=error)
        except Exception:
            self.log.exception("a client cannot be served")

    def dirty(self, connection: Connection) -> None:
        """Write for a connection at the end of this turn of the loop."""
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.add(connection)

    def store(self, connection: Connection, packet_id: int | None, message: Telemetry) -> None:
        """Store a message with what else comes."""
        self._batch.append((connection, packet_id, message))
        self._batch_bytes += len(message.body)
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
                messages = [message for _, _, message in batch]
                try:
                    await self._store.ado(lambda cloud: cloud.messages.append(messages))  # noqa: B023
                except Exception:
                    # Not stored, so not acknowledged: they come again.
                    for connection in {connection for connection, _, _ in batch}:
                        connection.close("its messages cannot be stored")
                    raise
                _acknowledge(batch)
                if self._is_paused and self._batch_bytes < _RESUME_BYTES:
                    self._is_paused = False
                    self._read(wanted=True)
        finally:
            self._stored.set()
            if self._is_paused and not self._batch:
                self._is_paused = False
                self._read(wanted=True)

    def _read(self, *, wanted: bool) -> None:
        for transport in self._connections.values():
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for connection in dirty:
            write, transport = self._writers.get(connection), self._connections.get(connection)
            if write is None or transport is None:
                continue
            data = b"".join(connection.output)
            connection.output.clear()
            if data and not transport.is_closing():
                write(data)
                if transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
                    transport.abort()

    def _end(self, connection: Connection) -> None:
        """Close the transport of a connection, after what it still has to say."""
        transport = self._connections.get(connection)
        if transport is not None:
            self._dirty.add(connection)
            self._flush()
            transport.close()


def _acknowledge(batch: list[tuple[Connection, int | None, Telemetry]]) -> None:
    stored: dict[Connection, list[int]] = {}
    for connection, packet_id, _ in batch:
        if packet_id is not None:
            stored.setdefault(connection, []).append(packet_id)
    for connection, packet_ids in stored.items():
        connection.stored(packet_ids)


def _overdue(connection: Connection, now: float, wall: float) -> str:
    silent = now - connection.heard_at
    if not connection.is_served:
        return "no CONNECT came" if now - connection.began_at > _CONNECT_SECONDS else ""
    if connection.expires_at is not None and wall >= connection.expires_at:
        return "its token has expired"
    longest = connection.keep_alive_seconds * 1.5 or _LONGEST_SILENCE_SECONDS
    return "the client is silent" if silent > min(longest, _LONGEST_SILENCE_SECONDS) else ""
