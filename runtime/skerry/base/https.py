"""HTTPS to servers outside the device: EST, DPS, IoT Hub.

One connection per request, body and time bounded, redirects not followed (none of these servers
redirects, and a credential must not follow one). Through a proxy the server is reached by CONNECT,
so the proxy sees host names and nothing else. TLS 1.2 at least; certificates always verified.
"""

import base64
import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

from skerry import __version__
from skerry.base.errors import SkerryError

_USER_AGENT = f"Skerry/{__version__}"
_MAX_BODY_BYTES = 1024 * 1024
_MAX_PROXY_HEAD_BYTES = 8 * 1024
_TIMEOUT_SECONDS = 30.0
# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_TIME_VERIFY_CODES = (9, 10)


class HttpsFailure(StrEnum):
    """What went wrong, by what the caller can do: wait, look at trust or the clock, report."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    CLOCK = "clock"
    PROTOCOL = "protocol"


class HttpsError(SkerryError):
    """No usable answer came; `kind` says why."""

    def __init__(self, message: str, kind: HttpsFailure) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class HttpsAnswer:
    """An answer of any status; header names in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def trust_context(roots_pem: Sequence[str] = (), *, system_roots: bool = True) -> ssl.SSLContext:
    """Return a client context that trusts the roots given and, if asked, the system's.

    Raises: HttpsError (tls) when a root is not a PEM certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if system_roots:
        context.load_default_certs()
    for pem in roots_pem:
        try:
            context.load_verify_locations(cadata=pem)
        except ssl.SSLError as error:
            raise HttpsError(
                f"a trusted certificate cannot be read: {error.reason or error}, expected PEM",
                HttpsFailure.TLS,
            ) from None
    return context


@dataclass(frozen=True)
class Proxy:
    """The way out: `url` is `http://[user:password@]host:port`.

    Hosts in `direct` (names, or domains with all below them, `*` for all) and loopback addresses
    are reached without it.
    """

    url: str = field(repr=False)
    direct: tuple[str, ...] = ()


def proxy_from(environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that `https_proxy` and `no_proxy` of an environment name, None for none."""
    url = environment.get("https_proxy") or environment.get("HTTPS_PROXY")
    if not url:
        return None
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = (name.strip().lower().lstrip(".") for name in listed.split(","))
    return Proxy(url, tuple(name for name in names if name))


class HttpsClient:
    """Sends single requests under one TLS context.

    A step (connect, handshake, a read) may take `timeout_seconds`; so may the whole answer, so
    that a server that sends a byte now and then holds nobody up.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        proxy: Proxy | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        max_body_bytes: int = _MAX_BODY_BYTES,
    ) -> None:
        self._context = context
        self._proxy = proxy
        self._timeout_seconds = timeout_seconds
        self._max_body_bytes = max_body_bytes

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpsAnswer:
        """Send one request and read the whole answer.

        Raises: HttpsError; its message names the server and never the headers or the body.
        """
        target = _target(url)
        overdue = threading.Event()
        try:
            with (
                tls_connection(
                    target.hostname or "",
                    target.port or 443,
                    self._context,
                    self._proxy,
                    self._timeout_seconds,
                ) as sock,
                _limited(sock, self._timeout_seconds, overdue),
            ):
                connection = http.client.HTTPConnection(target.hostname or "", target.port or 443)
                connection.sock = sock
                connection.request(
                    method,
                    _path(target),
                    body=body or (b"" if method in ("POST", "PUT") else None),
                    headers={
                        "Host": _server(target),
                        "User-Agent": _USER_AGENT,
                        "Accept": "*/*",
                        **(headers or {}),
                    },
                )
                with connection.getresponse() as response:
                    data = self._body(response)
                if overdue.is_set():
                    # A body that ends with the connection looks whole when it was cut.
                    raise TimeoutError
        except (OSError, http.client.HTTPException) as error:
            late = overdue.is_set()
            _refuse(target, TimeoutError() if late else error, self._timeout_seconds)
        if len(data) > self._max_body_bytes:
            raise HttpsError(
                f"{target.hostname} answered with more than {self._max_body_bytes} bytes",
                HttpsFailure.PROTOCOL,
            )
        found = {name.lower(): value for name, value in response.getheaders()}
        return HttpsAnswer(response.status, found, data)

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        data = response.read(self._max_body_bytes + 1)
        if response.length and len(data) <= self._max_body_bytes:
            raise http.client.IncompleteRead(data, response.length)
        return data


@contextlib.contextmanager
def tls_connection(
    host: str, port: int, context: ssl.SSLContext, proxy: Proxy | None, timeout_seconds: float
) -> Iterator[ssl.SSLSocket]:
    """Give a TLS connection to a server, through the proxy where that is for it.

    Raises: OSError, HttpsError for a proxy's address that cannot be used.
    """
    with (
        plain_connection(host, port, proxy, timeout_seconds) as plain,
        context.wrap_socket(plain, server_hostname=host) as sock,
    ):
        yield sock


def plain_connection(
    host: str, port: int, proxy: Proxy | None, timeout_seconds: float
) -> socket.socket:
    """Return a connection to a server on which TLS has not begun, through the proxy if need be.

    Raises: OSError, HttpsError for a proxy's address that cannot be used.
    """
    way = None
    if proxy is not None and not _is_direct(host, proxy.direct):
        way = _proxy(proxy.url)
    address = (host, port) if way is None else (way.hostname or "", way.port or 80)
    plain = socket.create_connection(address, timeout_seconds)
    try:
        # head and body go out in two writes; the second must not wait for an acknowledgement
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if way is not None:
            _tunnel(plain, way, host, port)
    except BaseException:
        plain.close()
        raise
    return plain


@contextlib.contextmanager
def _limited(sock: socket.socket, seconds: float, overdue: threading.Event) -> Iterator[None]:
    """End the connection, and set `overdue`, when the block takes longer."""

    def cut() -> None:
        overdue.set()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tunnel(plain: socket.socket, proxy: SplitResult, host: str, port: int) -> None:
    """Ask the proxy for a tunnel (RFC 9110 §9.3.6)."""
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}", *_proxy_credentials(proxy), "", ""]
    plain.sendall("\r\n".join(lines).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # One byte at a time: what follows the head is TLS and must stay in the socket.
        received = plain.recv(1)
        head += received
        if not received or len(head) > _MAX_PROXY_HEAD_BYTES:
            raise OSError("the proxy does not answer CONNECT in HTTP")
    status = head.split(b"\r\n")[0].decode("latin-1").partition(" ")[2]
    if not status.startswith("2"):
        raise OSError(f"the proxy answers {status!r}")


def _target(url: str) -> SplitResult:
    try:
        target = urlsplit(url)
        valid = target.scheme == "https" and target.hostname and target.port != 0
    except ValueError:
        valid = False
    if not valid or any(character <= " " for character in url):
        raise HttpsError(
            f"{url!r} cannot be asked, expected https://host[:port]/…", HttpsFailure.PROTOCOL
        )
    return target


def _server(target: SplitResult) -> str:
    return target.netloc.rpartition("@")[2]


def _path(target: SplitResult) -> str:
    return (target.path or "/") + (f"?{target.query}" if target.query else "")


def _proxy(text: str) -> SplitResult:
    try:
        proxy = urlsplit(text)
        if proxy.scheme == "http" and proxy.hostname and proxy.port != 0:
            return proxy
    except ValueError:
        pass
    # The text is not quoted: it may hold a password.
    raise HttpsError(
        "the proxy's address cannot be used, expected http://[user:password@]host:port; "
        "look at https_proxy",
        HttpsFailure.PROTOCOL,
    )


def _proxy_credentials(proxy: SplitResult) -> list[str]:
    if proxy.username is None:
        return []
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return [f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}"]


def _is_direct(host: str, direct: Sequence[str]) -> bool:
    lower = host.lower()
    return _is_loopback(lower) or any(
        name == "*" or lower == name or lower.endswith(f".{name}") for name in direct
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse(target: SplitResult, error: Exception, timeout_seconds: float) -> NoReturn:
    server = _server(target)
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"{server}'s certificate is not trusted: {error.verify_message}"
        if error.verify_code in _TIME_VERIFY_CODES:
            raise HttpsError(f"{why}; is this device's clock right?", HttpsFailure.CLOCK) from error
        raise HttpsError(
            f"{why}; a private authority has to be named in the configuration", HttpsFailure.TLS
        ) from error
    if isinstance(error, ssl.SSLError):
        raise HttpsError(
            f"TLS with {server} failed: {error.reason or error}", HttpsFailure.TLS
        ) from error
    if isinstance(error, TimeoutError):
        raise HttpsError(
            f"{server} did not answer within {timeout_seconds:g} s", HttpsFailure.TIMEOUT
        ) from error
    if isinstance(error, socket.gaierror):
        raise HttpsError(
            f"{server} is not known to name resolution: {error.strerror}", HttpsFailure.UNREACHABLE
        ) from error
    if isinstance(error, OSError):
        raise HttpsError(
            f"{server} cannot be reached: {error.strerror or error}", HttpsFailure.UNREACHABLE
        ) from error
    raise HttpsError(
        f"{server} did not answer in HTTP: {type(error).__name__}", HttpsFailure.PROTOCOL
    ) from error
