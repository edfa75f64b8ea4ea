"""HTTP/1.1 over TLS: one asyncio loop, bounded in time, size and connections.

Invariants
- A head fits 64 KiB and arrives within 15 s, a body 1 MiB within 30 s; an idle connection is closed
  after a minute, and beyond `connections` at once a new one is closed unanswered.
- What goes wrong with one connection ends that connection only.
- Every answer has a Date: devices correct their clocks by it.
- The handler never blocks the loop: it awaits the database's thread.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import format_datetime
from urllib.parse import parse_qsl, urlsplit

import h11

from skerry.base.clock import Clock
from skerry.base.log import Logger
from skerry.heads.routes import Answer, Request, Stream
from skerry.heads.tls import client_chain

Handle = Callable[[Request], Awaitable[Answer | Stream]]
Upgrade = Callable[[Request, asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]
"""Takes a connection over: the request that asked for it, and what came after its head."""

_READ_BYTES = 64 * 1024
_MAX_QUERY_FIELDS = 64
_SENDING = (413, 431)
_LINGER_SECONDS = 0.5


@dataclass(frozen=True)
class HttpLimits:
    """What one client, and all together, may take."""

    head_bytes: int = 64 * 1024
    body_bytes: int = 1024 * 1024
    head_seconds: float = 15.0
    body_seconds: float = 30.0
    keep_alive_seconds: float = 60.0
    connections: int = 4096


class HttpServer:
    """Serves connections of an asyncio server."""

    def __init__(
        self,
        handle: Handle,
        limits: HttpLimits,
        clock: Clock,
        log: Logger,
        upgrade: Upgrade | None = None,
    ) -> None:
        self._handle = handle
        self._upgrade = upgrade
        self._limits = limits
        self._clock = clock
        self._log = log
        self._open: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        task = asyncio.current_task()
        if task is None or len(self._open) >= self._limits.connections:
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            connection = _Connection(reader, writer, self._handle, self._limits, self._clock)
            taken_over = await connection.serve(can_upgrade=self._upgrade is not None)
            if taken_over is not None and self._upgrade is not None:
                await self._upgrade(taken_over, reader, writer, connection.unread)
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            self._log.debug("connection ended", reason=type(error).__name__)
        except asyncio.CancelledError:
            writer.transport.abort()
        except Exception:
            self._log.exception("connection failed")
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), self._limits.head_seconds)

    async def close(self) -> None:
        """End all connections."""
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


class _Connection:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handle: Handle,
        limits: HttpLimits,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._reader = reader
        self._writer = writer
        self._handle = handle
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self._chain = client_chain(writer.get_extra_info("ssl_object"))

    @property
    def unread(self) -> bytes:
        """What was received after the last request."""
        return self._http.trailing_data[0]

    async def serve(self, *, can_upgrade: bool) -> Request | None:
        """Answer requests until the end, or return the one that asks for a WebSocket."""
        seconds = self._limits.head_seconds
        while True:
            try:
                request = await self._request(seconds)
            except h11.RemoteProtocolError as error:
                await self._refuse(error)
                return None
            if request is None:
                return None
            if can_upgrade and request.headers.get("upgrade", "").lower() == "websocket":
                return request
            answer = await self._handle(request)
            if isinstance(answer, Stream):
                await self._stream(answer)
            else:
                await self._send(answer)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return None
            self._http.start_next_cycle()
            seconds = self._limits.keep_alive_seconds

    async def _request(self, head_seconds: float) -> Request | None:
        async with asyncio.timeout(head_seconds):
            head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        async with asyncio.timeout(self._limits.body_seconds):
            if self._http.they_are_waiting_for_100_continue:
                await self._write(
                    self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
                )
            while not isinstance(event := await self._event(), h11.EndOfMessage):
                if not isinstance(event, h11.Data):
                    return None
                body += event.data
                if len(body) > self._limits.body_bytes:
                    raise h11.RemoteProtocolError(
                        f"the body has more than {self._limits.body_bytes} bytes",
                        error_status_hint=413,
                    )
        return _request(head, bytes(body), self._chain)

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(
                Answer.json({"Message": str(error)}, error.error_status_hint), close=True
            )
            if error.error_status_hint in _SENDING:
                await self._linger()

    async def _linger(self) -> None:
        """Read on for a moment: a close with data unread would take the answer back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while await self._reader.read(_READ_BYTES):
                    pass

    async def _send(self, answer: Answer, *, close: bool = False) -> None:
        headers = [*self._headers(answer), ("content-length", str(len(answer.body)))]
        if close:
            headers.append(("connection", "close"))
        head = h11.Response(status_code=answer.status, headers=headers)
        data = self._http.send(head) or b""
        if answer.body:
            data += self._http.send(h11.Data(data=answer.body)) or b""
        await self._write(data + (self._http.send(h11.EndOfMessage()) or b""))

    async def _stream(self, answer: Stream) -> None:
        head = h11.Response(status_code=answer.status, headers=self._headers(answer))
        await self._write(self._http.send(head))
        async with contextlib.aclosing(answer.chunks) as chunks:
            async for chunk in chunks:
                await self._write(self._http.send(h11.Data(data=chunk)))
        await self._write(self._http.send(h11.EndOfMessage()))

    def _headers(self, answer: Answer | Stream) -> list[tuple[str, str]]:
        now = format_datetime(self._clock.now(), usegmt=True)
        return [("date", now), *answer.headers.items()]

    async def _write(self, data: bytes | None) -> None:
        self._writer.write(data or b"")
        async with asyncio.timeout(self._limits.body_seconds):
            await self._writer.drain()


def _request(head: h11.Request, body: bytes, chain: tuple[bytes, ...]) -> Request:
    try:
        target = urlsplit(head.target.decode("latin-1"))
        pairs = parse_qsl(target.query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError as error:
        raise h11.RemoteProtocolError(f"the address cannot be read: {error}") from error
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("latin-1"), target.path, dict(pairs), headers, body, chain)
