"""A TCP line between a client and a server that a test can stall or cut in the middle."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_BLOCK_BYTES = 16 * 1024


class Line:
    """Forwards every connection to `target`; what is limited is the way to the client."""

    def __init__(self, address: str, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server((address, 0))
        self.port = int(self._listener.getsockname()[1])
        self._changed = threading.Condition()
        self._left: int | None = None
        self._cuts = False
        self._open: set[socket.socket] = set()
        self.held = threading.Event()
        """Set when the limit has been reached."""

    def stall_after(self, size_bytes: int) -> None:
        """Let so many bytes pass, then none until `free`."""
        self._limit(size_bytes, cuts=False)

    def cut_after(self, size_bytes: int) -> None:
        """Let so many bytes pass, then close every connection, also new ones, until `free`."""
        self._limit(size_bytes, cuts=True)

    def free(self) -> None:
        """Let everything pass."""
        self._limit(None, cuts=False)

    def serve(self) -> None:
        """Accept connections until `close`."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_cut():
                    client.close()
                    continue
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                self._open |= {client, server}
                for way in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    def close(self) -> None:
        """End it, and every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.free()
        self._hang_up()

    def _limit(self, left: int | None, *, cuts: bool) -> None:
        with self._changed:
            self._left, self._cuts = left, cuts
            self.held.clear()
            self._changed.notify_all()

    def _is_cut(self) -> bool:
        with self._changed:
            return self._cuts and self._left == 0

    def _pass_on(self, source: socket.socket, sink: socket.socket, limited: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK_BYTES):
                if limited and not self._may_pass(len(data)):
                    self._hang_up()
                    return
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _may_pass(self, size: int) -> bool:
        with self._changed:
            while self._left is not None:
                if self._left >= size:
                    self._left -= size
                    return True
                self._left = 0
                self.held.set()
                if self._cuts:
                    return False
                self._changed.wait()
            return True

    def _hang_up(self) -> None:
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()


@contextmanager
def line(address: str, target: tuple[str, int]) -> Iterator[Line]:
    """Run a line from a free port of `address`."""
    made = Line(address, target)
    thread = threading.Thread(target=made.serve, name="line")
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join()
