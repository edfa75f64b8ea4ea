"""Calls over a unix socket: kept connections, services that come and go, errors."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.base.client import ApiError, ServiceClient, UnreachableError
from skerry.base.clock import SystemClock
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import get_logger
from skerry.base.server import Listener, Server

VERSION = "1"


class Service:
    """A server on a path, with what its routes were asked; `peers` counts connections."""

    def __init__(self, path: Path, name: str = "one") -> None:
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        sock.listen()
        self.name = name
        self.hold = threading.Event()
        self.at_once: list[int] = []
        self._active = 0
        router = Router([VERSION])
        router.add("GET", "/name", lambda _: Response.json({"name": self.name}))
        router.add("POST", "/refuse", self._refuse)
        router.add("GET", "/hold", self._hold)
        router.add("GET", "/stream", lambda _: Response.stream(iter([b"a", b"b"]), "text/plain"))
        self.listener = Listener("test", sock, router, max_per_uid=10)
        self.server = Server([self.listener], clock=SystemClock(), log=get_logger("test"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()

    def _refuse(self, request: Request) -> Response:
        raise HttpError(418, f"got {request.json_object()}")

    def _hold(self, _: Request) -> Response:
        self._active += 1
        self.at_once.append(self._active)
        self.hold.wait(10)
        self._active -= 1
        return Response.json({})

    def connections(self) -> int:
        return sum(self.listener.open_by_uid.values())

    def stop(self) -> None:
        self.hold.set()
        self.server.stop()
        self.thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "service.sock"


@pytest.fixture
def service(path: Path) -> Iterator[Service]:
    running = Service(path)
    yield running
    running.stop()


def test_calls_share_a_connection(service: Service, path: Path) -> None:
    """One connection serves call after call, also after an answer of refusal."""
    client = ServiceClient(path, VERSION)
    for _ in range(3):
        assert client.get("/name") == {"name": "one"}
        with pytest.raises(ApiError, match=r"got \{'a': 1\}") as caught:
            client.post("/refuse", {"a": 1})
        assert caught.value.status == 418
    assert service.connections() == 1


def test_a_service_that_started_anew_is_reached(path: Path) -> None:
    """A connection whose other end is gone is not used; nothing is noticed."""
    client = ServiceClient(path, VERSION)
    for name in ("one", "two"):
        service = Service(path, name)
        try:
            assert client.get("/name") == {"name": name}
        finally:
            service.stop()


def test_a_service_that_is_gone_is_unreachable(path: Path) -> None:
    """The message names the socket."""
    client = ServiceClient(path, VERSION)
    service = Service(path)
    client.get("/name")
    service.stop()
    path.unlink()
    with pytest.raises(UnreachableError, match=r"no answer on .*service\.sock: "):
        client.get("/name")


def test_a_dropped_client_closes_its_connections(service: Service, path: Path) -> None:
    """What a client kept does not outlive it."""
    client = ServiceClient(path, VERSION)
    client.get("/name")
    del client
    ended = threading.Event()
    while service.connections():
        assert not ended.wait(0.01)


def test_more_calls_than_the_service_allows_wait_their_turn(service: Service, path: Path) -> None:
    """Twenty callers of one client are all answered though a user may have ten connections."""
    client = ServiceClient(path, VERSION)
    answers: list[object] = []
    callers = [
        threading.Thread(target=lambda: answers.append(client.get("/hold"))) for _ in range(20)
    ]
    for caller in callers:
        caller.start()
    moment = threading.Event()
    while len(service.at_once) < 8:
        assert not moment.wait(0.01)
    service.hold.set()
    for caller in callers:
        caller.join()
    assert (len(answers), max(service.at_once)) == (20, 8)
    while service.connections() > 4:  # what is not kept is closed
        assert not moment.wait(0.01)


def test_a_call_that_waits_too_long_for_its_turn_is_told(service: Service, path: Path) -> None:
    """A service that answers nobody holds up no caller for longer than the timeout."""
    client = ServiceClient(path, VERSION, timeout_seconds=0.3)
    failures: list[str] = []

    def call() -> None:
        try:
            client.get("/hold")
        except UnreachableError as error:
            failures.append(str(error))

    callers = [threading.Thread(target=call) for _ in range(9)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(failures) == 9


def test_a_stream_is_read_to_its_end_and_refused_as_any_call(service: Service, path: Path) -> None:
    """Streams have connections of their own, closed at the end."""
    client = ServiceClient(path, VERSION)
    assert b"".join(client.stream("/stream")) == b"ab"
    with pytest.raises(ApiError) as caught:
        list(client.stream("/nothing"))
    assert caught.value.status == 404


def test_an_answer_cut_in_the_middle_is_unreachable(path: Path) -> None:
    """Half an answer is none; the next call starts with a new connection."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer() -> None:
        for text in (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b""):
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(text)

    thread = threading.Thread(target=answer)
    thread.start()
    client = ServiceClient(path, VERSION)
    for _ in range(2):
        with pytest.raises(UnreachableError):
            client.get("/name")
    thread.join()
    listener.close()
