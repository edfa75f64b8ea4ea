"""The HTTP server over real unix sockets, with good and bad requests."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skerry.base.client import ApiError, ServiceClient, UnreachableError
from skerry.base.clock import SystemClock
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import get_logger
from skerry.base.server import Listener, Server
from skerry.base.sockets import bind_unix

V1, V2 = "2020-01-01", "2021-01-01"


def echo(request: Request, name: str) -> Response:
    """Answer what was asked."""
    return Response.json({"name": name, "body": request.json(), "uid": request.peer.uid})


def strict(request: Request) -> Response:
    """Need an object."""
    return Response.json(request.json_object())


def teapot(_request: Request) -> Response:
    """Refuse."""
    raise HttpError(418, "short and stout")


def broken(_request: Request) -> Response:
    """Have a defect."""
    raise RuntimeError("inside information")


def parts(_request: Request) -> Response:
    """Stream."""
    return Response.stream(iter([b"one ", b"", b"two"]), "text/plain")


def make_router() -> Router:
    """Return the routes the tests call."""
    router = Router([V1, V2])
    router.add("PUT", "/things/{name}", echo)
    router.add("POST", "/things/{name}", echo)
    router.add("POST", "/strict", strict)
    router.add("GET", "/teapot", teapot)
    router.add("GET", "/broken", broken)
    router.add("GET", "/parts", parts, since=V2)
    router.add("DELETE", "/things", lambda _request: Response.empty())
    return router


Start = Callable[..., Path]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers on sockets of their own and stop them afterwards."""
    running: list[tuple[Server, threading.Thread]] = []

    def run(router: Router | None = None, max_per_uid: int = 10) -> Path:
        path = tmp_path / f"{len(running)}.sock"
        listener = Listener(
            "test", bind_unix(path, mode=0o600), router or make_router(), max_per_uid
        )
        server = Server([listener], clock=SystemClock(), log=get_logger("test"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        return path

    yield run
    for server, thread in running:
        server.stop()
        thread.join(10)
        assert not thread.is_alive()


def raw(path: Path, data: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(data)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
        return answer


def test_path_parameters_are_decoded_and_bodies_parsed(start: Start) -> None:
    """`%24edgeAgent` reaches the handler as `$edgeAgent`, with the JSON body."""
    answer = ServiceClient(start(), V1).put("/things/%24edgeAgent", {"a": 1})
    assert isinstance(answer, dict)
    assert (answer["name"], answer["body"]) == ("$edgeAgent", {"a": 1})


def test_a_trailing_slash_is_the_same_route(start: Start) -> None:
    """Some clients ask for /modules/ where others ask for /modules."""
    assert ServiceClient(start(), V1).delete("/things/") is None


@pytest.mark.parametrize(
    ("method", "path", "version", "status", "message"),
    [
        pytest.param("get", "/nothing", V1, 404, "not found", id="unknown path"),
        pytest.param("get", "/things", V1, 400, "method not allowed", id="other verb"),
        pytest.param("get", "/parts", V1, 404, "not found", id="route newer than the version"),
        pytest.param("get", "/teapot", "1999-01-01", 400, "api-version", id="unknown version"),
        pytest.param("get", "/teapot", V1, 418, "short and stout", id="refusal of the handler"),
        pytest.param("get", "/broken", V1, 500, "internal error", id="defect of the handler"),
        pytest.param("post", "/strict", V1, 422, "expected a JSON object", id="no body"),
    ],
)
def test_refusals_carry_status_and_message(
    start: Start, method: str, path: str, version: str, status: int, message: str
) -> None:
    """Every error is a status and a message; a defect shows nothing of its insides."""
    client = ServiceClient(start(), version)
    with pytest.raises(ApiError, match=message) as caught:
        getattr(client, method)(path)
    assert caught.value.status == status
    assert "inside information" not in str(caught.value)


def test_stream_arrives_whole(start: Start) -> None:
    """A body of unknown length comes in chunks; an empty chunk does not end it."""
    assert b"".join(ServiceClient(start(), V2).stream("/parts")) == b"one two"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        pytest.param("", b'{"a":1}', 200, id="no content type counts as JSON"),
        pytest.param("Content-Type: application/json; charset=utf-8\r\n", b"1", 200, id="charset"),
        pytest.param("Content-Type: text/plain\r\n", b"1", 415, id="other type on PUT"),
        pytest.param("", b"{", 422, id="not JSON"),
        pytest.param("", b"[" * 100_000, 422, id="nested too deep"),
    ],
)
def test_bodies_of_put(start: Start, headers: str, body: bytes, status: int) -> None:
    """What is taken as JSON and what is refused."""
    head = f"PUT /things/x?api-version={V1} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}"
    answer = raw(start(), f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_chunked_request_body(start: Start) -> None:
    """A body may come in chunks."""
    head = f"POST /strict?api-version={V1} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    answer = raw(
        start(), f'{head}Transfer-Encoding: chunked\r\n\r\n7\r\n{{"a":1}}\r\n0\r\n\r\n'.encode()
    )
    assert answer.endswith(b'{"a":1}')


def test_body_over_the_limit_is_refused(start: Start) -> None:
    """A declared body is read up to the limit and answered 413."""
    size = 4 * 1024 * 1024 + 1
    head = f"POST /strict?api-version={V1} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    assert raw(start(), head.encode() + b"x" * size).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"nonsense\r\n\r\n", id="no request line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", id="two hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", id="header too long"),
    ],
)
def test_what_is_not_http_is_told_so(start: Start, request_bytes: bytes) -> None:
    """A broken request is answered with a 4xx and a message, and the connection closes."""
    answer = raw(start(), request_bytes)
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"not a valid HTTP request" in answer


def test_keep_alive_serves_several_requests(start: Start) -> None:
    """Two requests on one connection get two answers."""
    request = f"DELETE /things?api-version={V1} HTTP/1.1\r\nHost: x\r\n".encode()
    answer = raw(start(), request + b"\r\n" + request + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 204 ") == 2


def test_connections_over_the_budget_are_closed(start: Start) -> None:
    """The third connection of a uid with a budget of two is closed without an answer."""
    path = start(max_per_uid=2)
    held = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    try:
        for client in held:
            client.connect(str(path))
            client.sendall(f"DELETE /things?api-version={V1} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(12) == b"HTTP/1.1 204"
        with pytest.raises(UnreachableError):
            ServiceClient(path, V1).delete("/things")
    finally:
        for client in held:
            client.close()


def test_nobody_there_is_told_by_the_path(tmp_path: Path) -> None:
    """An absent service is Unreachable and named by its socket."""
    with pytest.raises(UnreachableError, match=r"no answer on .*absent\.sock"):
        ServiceClient(tmp_path / "absent.sock", V1).get("/things")


def test_idle_server_ends_by_itself(tmp_path: Path) -> None:
    """After the idle time without a request `run` returns; an open connection does not hold it."""
    path = tmp_path / "idle.sock"
    listener = Listener("test", bind_unix(path, mode=0o600), make_router())
    server = Server([listener], clock=SystemClock(), log=get_logger("t"), idle_exit_seconds=0.3)
    thread = threading.Thread(target=server.run)
    thread.start()
    with socket.socket(socket.AF_UNIX) as open_connection:
        open_connection.connect(str(path))
        ServiceClient(path, V1).delete("/things")
        thread.join(10)
        assert not thread.is_alive()


def test_request_under_way_holds_off_the_idle_exit(tmp_path: Path) -> None:
    """A request longer than the idle time is answered before the server ends."""
    entered, release = threading.Event(), threading.Event()

    def slow(_request: Request) -> Response:
        entered.set()
        release.wait(10)
        return Response.json("done")

    router = Router([V1])
    router.add("GET", "/slow", slow)
    path = tmp_path / "slow.sock"
    server = Server(
        [Listener("test", bind_unix(path, mode=0o600), router)],
        clock=SystemClock(),
        log=get_logger("t"),
        idle_exit_seconds=0.1,
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    answers: list[object] = []
    caller = threading.Thread(target=lambda: answers.append(ServiceClient(path, V1).get("/slow")))
    caller.start()
    assert entered.wait(10)
    thread.join(0.4)
    assert thread.is_alive()
    release.set()
    caller.join(10)
    thread.join(10)
    assert answers == ["done"]
    assert not thread.is_alive()


def test_listeners_come_and_go_while_running(start: Start, tmp_path: Path) -> None:
    """A socket added later is served, and after its removal nobody answers there."""
    listener = Listener("first", bind_unix(tmp_path / "a.sock", mode=0o600), make_router())
    later = Listener("later", bind_unix(tmp_path / "b.sock", mode=0o600), make_router())
    server = Server([listener], clock=SystemClock(), log=get_logger("t"))
    thread = threading.Thread(target=server.run)
    thread.start()
    server.add_listener(later)
    assert ServiceClient(tmp_path / "b.sock", V1).delete("/things") is None
    server.remove_listener(later)
    with pytest.raises(UnreachableError):
        ServiceClient(tmp_path / "b.sock", V1).delete("/things")
    assert ServiceClient(tmp_path / "a.sock", V1).delete("/things") is None
    server.stop()
    thread.join(10)


def test_error_bodies_are_json(start: Start) -> None:
    """A refusal over the wire is exactly {"message": …}."""
    head = f"GET /teapot?api-version={V1} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    body = raw(start(), head.encode()).partition(b"\r\n\r\n")[2]
    assert json.loads(body) == {"message": "short and stout"}
