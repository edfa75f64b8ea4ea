"""Requests to servers outside the device, over real TLS on loopback."""

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.https_server import connect_proxy, https_server
from skerry.base.https import (
    HttpsClient,
    HttpsError,
    HttpsFailure,
    Proxy,
    proxy_from,
    trust_context,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Mon, 01 Jan 2029 00:00:00 GMT\r\n\r\nhi"


def client(root_pem: str, **options: object) -> HttpsClient:
    return HttpsClient(trust_context([root_pem], system_roots=False), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("host", "literal"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_a_request_is_sent_and_its_answer_read(tmp_path: Path, host: str, literal: str) -> None:
    """Method, path, query, headers and body go out; status, headers and body come back."""
    with https_server(tmp_path, lambda _: OK, host=host) as server:
        url = f"https://{literal}:{server.port}/a/b?x=1"
        answer = client(server.root_pem).request("PUT", url, headers={"X-A": "b"}, body=b"{}")
    assert (answer.status, answer.body) == (200, b"hi")
    assert answer.headers["date"].startswith("Mon, 01 Jan 2029")
    sent = server.received[0]
    assert sent.startswith(b"PUT /a/b?x=1 HTTP/1.1\r\n")
    assert b"User-Agent: Skerry/" in sent
    assert sent.endswith(b"\r\n\r\n{}")
    assert b"X-A: b" in sent


def test_an_error_status_is_an_answer(tmp_path: Path) -> None:
    """What a status means is for the caller to say; redirects are not followed."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    with https_server(tmp_path, lambda _: moved) as server:
        answer = client(server.root_pem).request("GET", f"https://localhost:{server.port}/")
    assert answer.status == 302
    assert len(server.received) == 1


def test_a_proxy_sees_the_host_and_no_more(tmp_path: Path) -> None:
    """The server is reached by CONNECT with the proxy's own credentials."""
    with (
        https_server(tmp_path, lambda _: OK) as server,
        connect_proxy(server.port, credentials="me:p@ss") as proxy,
    ):
        way = Proxy(f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        answer = client(server.root_pem, proxy=way).request(
            "GET", "https://server.example:8443/secret", headers={"Authorization": "token"}
        )
    assert answer.body == b"hi"
    assert proxy.received[0].startswith(b"CONNECT server.example:8443 HTTP/1.")
    assert b"token" not in proxy.received[0]
    assert b"Proxy-Authorization" not in server.received[0]


def test_a_proxy_that_refuses_is_named_without_its_password(tmp_path: Path) -> None:
    """Wrong proxy credentials are one clear message."""
    with (
        https_server(tmp_path, lambda _: OK) as server,
        connect_proxy(server.port, credentials="me:other") as proxy,
    ):
        way = Proxy(f"http://me:hidden@127.0.0.1:{proxy.port}")
        with pytest.raises(HttpsError, match="407") as caught:
            client(server.root_pem, proxy=way).request("GET", "https://server.example/")
    assert "hidden" not in str(caught.value)
    assert caught.value.kind is HttpsFailure.UNREACHABLE


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"https_proxy": ""}, None),
        ({"HTTPS_PROXY": "http://p:1"}, Proxy("http://p:1")),
        (
            {"https_proxy": "http://p:1", "no_proxy": " .Example, hub.test,"},
            Proxy("http://p:1", ("example", "hub.test")),
        ),
    ],
)
def test_the_proxy_comes_from_the_environment(
    environment: dict[str, str], expected: Proxy | None
) -> None:
    """Both spellings count, as with other programs."""
    assert proxy_from(environment) == expected


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_loopback_and_excepted_hosts_do_without_the_proxy(tmp_path: Path, host: str) -> None:
    """A proxy that is not there does no harm where it is not needed."""
    with https_server(tmp_path, lambda _: OK) as server:
        way = Proxy("http://127.0.0.1:1")
        assert client(server.root_pem, proxy=way).request("GET", f"https://{host}:{server.port}/")
    excepted = client(server.root_pem, proxy=Proxy("http://127.0.0.1:1", ("invalid",)))
    with pytest.raises(HttpsError, match="name resolution"):
        excepted.request("GET", "https://hub.invalid/")


@pytest.mark.parametrize("url", ["ftp://p:1", "http://", "http://p:x", "p:3128"])
def test_an_unusable_proxy_is_refused_without_quoting_it(url: str) -> None:
    """The address may hold a password."""
    with pytest.raises(HttpsError, match="expected http://") as caught:
        HttpsClient(trust_context(), proxy=Proxy(url)).request("GET", "https://server.example/")
    assert caught.value.kind is HttpsFailure.PROTOCOL


def test_a_server_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    """Without its root a server is not believed, and nothing is sent."""
    with https_server(tmp_path, lambda _: OK) as server:
        stranger = HttpsClient(trust_context())
        with pytest.raises(HttpsError, match=r"not trusted.*private authority") as caught:
            stranger.request("GET", f"https://localhost:{server.port}/")
    assert caught.value.kind is HttpsFailure.TLS
    assert server.received == []


@pytest.mark.parametrize("days", [-400, 400])
def test_a_certificate_out_of_its_time_points_to_the_clock(tmp_path: Path, days: int) -> None:
    """Expired and not yet valid look alike when it is this device's clock that is wrong."""
    begin = datetime.now(UTC) + timedelta(days=days)
    with (
        https_server(tmp_path, lambda _: OK, start=begin) as server,
        pytest.raises(HttpsError, match="clock right") as caught,
    ):
        client(server.root_pem).request("GET", f"https://localhost:{server.port}/")
    assert caught.value.kind is HttpsFailure.CLOCK


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (b"SSH-2.0-x\r\n", HttpsFailure.PROTOCOL, "did not answer in HTTP"),
        (b"", HttpsFailure.PROTOCOL, "did not answer in HTTP|cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", HttpsFailure.PROTOCOL, "Incomplete"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            HttpsFailure.PROTOCOL,
            "Incomplete",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000, HttpsFailure.PROTOCOL, "more than 1000 bytes"),
    ],
)
def test_a_broken_answer_is_no_answer(
    tmp_path: Path, answer: bytes, kind: HttpsFailure, message: str
) -> None:
    """Half an answer is never taken for a whole one."""
    with (
        https_server(tmp_path, lambda _: answer) as server,
        pytest.raises(HttpsError, match=message) as caught,
    ):
        client(server.root_pem, max_body_bytes=1000).request(
            "GET", f"https://localhost:{server.port}/"
        )
    assert caught.value.kind in (kind, HttpsFailure.UNREACHABLE)


def test_nobody_listening_is_unreachable() -> None:
    """The message names host and port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HttpsError, match=f"127.0.0.1:{port} cannot be reached") as caught:
        HttpsClient(trust_context()).request("GET", f"https://127.0.0.1:{port}/")
    assert caught.value.kind is HttpsFailure.UNREACHABLE


@pytest.mark.parametrize("pause_seconds", [5.0, 0.05])
def test_a_slow_server_costs_the_timeout_and_no_more(tmp_path: Path, pause_seconds: float) -> None:
    """A silent server is left, and so is one that sends a byte now and then."""
    ended = threading.Event()

    def slowly(_: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while not ended.wait(pause_seconds):
            yield b"x"

    with https_server(tmp_path, slowly) as server:
        with pytest.raises(HttpsError, match=r"did not answer within 0.3 s") as caught:
            client(server.root_pem, timeout_seconds=0.3).request(
                "GET", f"https://localhost:{server.port}/"
            )
        ended.set()
    assert caught.value.kind is HttpsFailure.TIMEOUT


def test_a_server_that_does_not_speak_tls_is_named() -> None:
    """A plain HTTP server on the port is a TLS failure with the server's name."""
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(HttpsError, match=r"TLS with 127\.0\.0\.1:\d+ failed") as caught:
            HttpsClient(trust_context()).request(
                "GET", f"https://127.0.0.1:{plain.getsockname()[1]}/"
            )
        thread.join()
    assert caught.value.kind is HttpsFailure.TLS


@pytest.mark.parametrize(
    "url", ["http://a/", "https://", "a", "https://a:99999/", "https://a/b c", "https://[::1/"]
)
def test_an_address_that_is_no_https_is_refused(url: str) -> None:
    """Only https is spoken; nothing is sent anywhere."""
    with pytest.raises(HttpsError, match="expected https://"):
        HttpsClient(trust_context()).request("GET", url)


def test_a_trusted_certificate_that_is_none_is_refused() -> None:
    """A wrong file among the trusted certificates is said, not ignored."""
    with pytest.raises(HttpsError, match="expected PEM"):
        trust_context(["nonsense"])
