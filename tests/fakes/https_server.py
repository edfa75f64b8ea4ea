"""An HTTPS server and a CONNECT proxy on loopback, for what calls servers outside the device.

Each test says what is answered, byte by byte if it wants to; TLS and HTTP are real.
"""

import base64
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = Callable[[bytes], bytes | Iterator[bytes]]


@dataclass
class Served:
    """A running server: where it is, what it was sent, and the root that signs it."""

    port: int
    root_pem: str
    received: list[bytes] = field(default_factory=list)


def self_signed(folder: Path, *, start: datetime | None = None, days: int = 1) -> tuple[Path, str]:
    """Return (key and certificate in one file, the certificate's PEM) for loopback names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    begins = start or datetime.now(UTC) - timedelta(hours=1)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.DNSName("server.example"),
        *(x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + pem
    )
    return file, pem.decode()


@contextlib.contextmanager
def https_server(
    folder: Path, answer: Answer, *, host: str = "127.0.0.1", start: datetime | None = None
) -> Iterator[Served]:
    """Answer every connection with the bytes that `answer` makes of the request."""
    file, pem = self_signed(folder, start=start)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    served = Served(0, pem)

    def talk(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as connection:
            request = _request(connection)
            served.received.append(request)
            answered = answer(request)
            for part in [answered] if isinstance(answered, bytes) else answered:
                connection.sendall(part)

    with _listener(host, talk) as port:
        served.port = port
        yield served


@contextlib.contextmanager
def connect_proxy(target_port: int, *, credentials: str | None = None) -> Iterator[Served]:
    """Tunnel every CONNECT to one port of loopback; 407 where the credentials are not those."""
    served = Served(0, "")

    def talk(client: socket.socket) -> None:
        request = _request(client)
        served.received.append(request)
        if credentials is not None:
            wanted = f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}"
            if wanted.encode() not in request:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
        with socket.create_connection(("127.0.0.1", target_port)) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(server, client))
            back.start()
            _pump(client, server)
            back.join()

    with _listener("127.0.0.1", talk) as port:
        served.port = port
        yield served


@contextlib.contextmanager
def _listener(host: str, talk: Callable[[socket.socket], None]) -> Iterator[int]:
    listener = socket.create_server(
        (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
    )
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            talk(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(connection,))
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            break
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            while len(body) < int(value):
                body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
