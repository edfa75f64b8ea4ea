"""The one HTTP server of Skerry's services: HTTP/1.1 over unix sockets, one thread per connection.

Invariants
- The number of connections per uid and listener is bounded; one more is closed without an answer,
  as upstream does, so no user can take the service away from another.
- A request line and its headers fit 64 KiB, a body 4 MiB; a body has to arrive within 5 s.
- With an idle time set, the server ends when no request was under way for so long; connections
  that merely stay open do not count. The listening socket belongs to systemd, which starts the
  service at the next call.
- An exception that is not an HttpError is logged with its traceback and answered 500, "internal
  error", so that a caller learns nothing of the insides.
"""

import contextlib
import os
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import h11

from skerry.base.clock import Clock
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import Logger
from skerry.base.peer import Peer, peer_of

_HEADER_BYTES = 64 * 1024
_BODY_BYTES = 4 * 1024 * 1024
_BODY_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 60.0
_READ_BYTES = 64 * 1024
_STACK_BYTES = 8 * 1024 * 1024
"""Address space, not memory. Python 3.13 bounds C recursion by a count that overflows 1 MiB: a JSON
body nested 200,000 deep then ends the process instead of raising RecursionError."""


@dataclass(eq=False)
class Listener:
    """A listening socket, the routes behind it and the connections each uid may have open."""

    name: str
    sock: socket.socket
    router: Router
    max_per_uid: int = 10
    open_by_uid: Counter[int] = field(default_factory=Counter)


class Server:
    """Serves its listeners until `stop`, or until idle for `idle_exit_seconds` (0 = never)."""

    def __init__(
        self,
        listeners: list[Listener],
        *,
        clock: Clock,
        log: Logger,
        idle_exit_seconds: float = 0,
    ) -> None:
        self._clock = clock
        self._log = log
        self._idle_exit_seconds = idle_exit_seconds
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._active_requests = 0
        self._last_active = clock.monotonic()
        self._connections: set[socket.socket] = set()
        for listener in listeners:
            self.add_listener(listener)

    def add_listener(self, listener: Listener) -> None:
        """Serve one more socket, also while running."""
        listener.sock.setblocking(False)
        with self._lock:
            self._selector.register(listener.sock, selectors.EVENT_READ, listener)
        self._wake()

    def remove_listener(self, listener: Listener) -> None:
        """Stop serving a socket and close it; open connections end by themselves."""
        with self._lock:
            self._selector.unregister(listener.sock)
        listener.sock.close()
        self._wake()

    def stop(self) -> None:
        """End `run`; may be called from any thread or a signal handler."""
        self._stopping.set()
        self._wake()

    def wake_descriptor(self) -> int:
        """Return a new descriptor, the caller's; a byte written to it makes `run` look up."""
        return os.dup(self._wake_write.fileno())

    def run(self) -> None:
        """Accept and serve until stopped or idle; then close every socket."""
        threading.stack_size(_STACK_BYTES)
        while not self._stopping.is_set():
            for key, _ in self._selector.select(self._seconds_to_idle_exit()):
                if key.data is None:
                    self._drain_wake()
                else:
                    self._accept(key.data)
            if self._idle_for_long():
                break
        self._close()

    def _wake(self) -> None:
        # a full pipe already wakes the loop; a closed one means that it has ended
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0")

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)

    def _seconds_to_idle_exit(self) -> float | None:
        if not self._idle_exit_seconds:
            return None
        with self._lock:
            if self._active_requests:
                return self._idle_exit_seconds
            elapsed = self._clock.monotonic() - self._last_active
        return max(self._idle_exit_seconds - elapsed, 0.01)

    def _idle_for_long(self) -> bool:
        if not self._idle_exit_seconds:
            return False
        with self._lock:
            elapsed = self._clock.monotonic() - self._last_active
            return not self._active_requests and elapsed >= self._idle_exit_seconds

    def _accept(self, listener: Listener) -> None:
        try:
            connection, _ = listener.sock.accept()
        except OSError:
            # the caller has gone again, or the listener was removed between select and accept
            return
        peer = peer_of(connection)
        with self._lock:
            if listener.open_by_uid[peer.uid] >= listener.max_per_uid:
                allowed = False
            else:
                allowed = True
                listener.open_by_uid[peer.uid] += 1
                self._connections.add(connection)
        if not allowed:
            connection.close()
            self._log.warning(
                "too many connections; closed one",
                uid=peer.uid,
                socket=listener.name,
                limit=listener.max_per_uid,
            )
            return
        threading.Thread(
            target=self._serve,
            args=(listener, connection, peer),
            name=f"{listener.name}-{peer.pid}",
            daemon=True,
        ).start()

    def _serve(self, listener: Listener, connection: socket.socket, peer: Peer) -> None:
        try:
            _Exchange(listener, connection, peer, self._log, self.busy).run()
        except (OSError, h11.RemoteProtocolError):
            # the caller went away or does not speak HTTP; there is nobody to tell
            pass
        except Exception:  # the edge of a connection: a defect must not end the service
            self._log.exception("connection failed", socket=listener.name)
        finally:
            with self._lock:
                listener.open_by_uid[peer.uid] -= 1
                self._connections.discard(connection)
            connection.close()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count as a request that is under way: no idle exit within."""
        with self._lock:
            self._active_requests += 1
        try:
            yield
        finally:
            with self._lock:
                self._active_requests -= 1
                # the loop looks again when the time counted from here may be over
                self._last_active = self._clock.monotonic()

    def _close(self) -> None:
        with self._lock:
            open_now = list(self._connections)
            listeners = [key.data.sock for key in self._selector.get_map().values() if key.data]
        for connection in open_now:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._selector.close()
        for sock in (*listeners, self._wake_read, self._wake_write):
            sock.close()


class _Exchange:
    """The requests of one connection, one after another."""

    def __init__(
        self,
        listener: Listener,
        connection: socket.socket,
        peer: Peer,
        log: Logger,
        request_scope: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._listener = listener
        self._connection = connection
        self._peer = peer
        self._log = log
        self._request_scope = request_scope
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEADER_BYTES)

    def run(self) -> None:
        while True:
            self._connection.settimeout(_KEEP_ALIVE_SECONDS)
            try:
                head = self._next_event()
            except h11.RemoteProtocolError as error:
                self._send(
                    Response.error(error.error_status_hint, f"not a valid HTTP request: {error}")
                )
                return
            if not isinstance(head, h11.Request):
                return
            with self._request_scope():
                self._send(self._answer(head))
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(self._connection.recv(_READ_BYTES))
            elif isinstance(event, type):
                return h11.PAUSED
            else:
                return event

    def _answer(self, head: h11.Request) -> Response:
        try:
            return self._listener.router.handle(self._request(head))
        except HttpError as error:
            return Response.error(error.status, str(error))
        except Exception:  # the edge of a request: the caller learns nothing of our insides
            self._log.exception(
                "request failed", method=head.method.decode(), target=head.target.decode()
            )
            return Response.error(500, "internal error")

    def _request(self, head: h11.Request) -> Request:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        target = urlsplit(head.target.decode("latin-1"))
        if headers.get("expect", "").lower() == "100-continue":
            self._connection.sendall(
                self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
            )
        return Request(
            method=head.method.decode("ascii"),
            path=target.path,
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers=headers,
            body=self._body(),
            peer=self._peer,
            endpoint=self._listener.name,
        )

    def _body(self) -> bytes:
        self._connection.settimeout(_BODY_SECONDS)
        parts: list[bytes] = []
        size = 0
        try:
            while isinstance(event := self._next_event(), h11.Data):
                parts.append(bytes(event.data))
                size += len(event.data)
                if size > _BODY_BYTES:
                    raise HttpError(413, f"the body is larger than {_BODY_BYTES} bytes")
        except TimeoutError as error:
            raise HttpError(408, f"the body did not arrive within {_BODY_SECONDS:g} s") from error
        except h11.RemoteProtocolError as error:
            raise HttpError(400, f"not a valid HTTP body: {error}") from error
        return b"".join(parts)

    def _send(self, response: Response) -> None:
        self._connection.settimeout(_KEEP_ALIVE_SECONDS)
        headers = [(name, value) for name, value in response.headers.items()]
        if response.content_type:
            headers.append(("content-type", response.content_type))
        if response.chunks is None:
            if response.status != 204:
                headers.append(("content-length", str(len(response.body))))
        else:
            headers.append(("transfer-encoding", "chunked"))
        if self._http.their_state is not h11.DONE:
            # the request was not read to its end, so this connection cannot carry another one
            headers.append(("connection", "close"))
        start = self._http.send(h11.Response(status_code=response.status, headers=headers)) or b""
        if response.chunks is None:
            data = (self._http.send(h11.Data(data=response.body)) or b"") if response.body else b""
            end = self._http.send(h11.EndOfMessage()) or b""
            self._connection.sendall(start + data + end)
            return
        self._connection.sendall(start)
        for chunk in response.chunks:
            if chunk:
                self._connection.sendall(self._http.send(h11.Data(data=chunk)) or b"")
        self._connection.sendall(self._http.send(h11.EndOfMessage()) or b"")
