"""An EST server (RFC 7030) on loopback, over real TLS, with a CA of its own.

It knows Basic logins, TLS clients whose certificates its CA issued, `cacerts`, `simpleenroll` and
`simplereenroll`. What a test puts into `instead` is answered in place of the right thing.
"""

import base64
import contextlib
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

PATH = "/.well-known/est"
PKCS7 = "application/pkcs7-mime; smime-type=certs-only"
Answer = tuple[int, dict[str, str], bytes]


def name(text: str) -> x509.Name:
    """Return a subject of one CN."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def pem_of(certificate: x509.Certificate) -> str:
    """Return a certificate in PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()


def key_pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a private key in PEM, as a file of config.toml has it."""
    return key.private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def certs_only(*certificates: x509.Certificate) -> bytes:
    """Return the body of a right answer: PKCS#7 in base64."""
    return base64.encodebytes(pkcs7.serialize_certificates(list(certificates), Encoding.DER))


@dataclass(frozen=True)
class Authority:
    """A CA that signs whatever it is told to."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def sign(
        self,
        subject: x509.Name,
        public_key: object,
        start: datetime,
        days: float,
        *,
        ca: bool = False,
        names: list[x509.GeneralName] | None = None,
    ) -> x509.Certificate:
        """Issue a certificate."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(public_key)  # type: ignore[arg-type]  # whatever the request holds
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def new_authority(text: str, start: datetime, above: Authority | None = None) -> Authority:
    """Return a CA, self-signed or below another; it lives for thirty years."""
    key = ec.generate_private_key(ec.SECP256R1())
    if above is not None:
        made = above.sign(name(text), key.public_key(), start, 10950, ca=True)
        return Authority(made, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(text))
        .issuer_name(name(text))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=10950))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


@dataclass
class EstServer:
    """A running server: `asked` are the operations and who asked, as (operation, who)."""

    root: Authority
    issuing: Authority
    url: str = ""
    days: float = 30
    now: datetime | None = None
    logins: dict[str, str] = field(default_factory=dict)
    needs_certificate: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    instead: dict[str, Answer] = field(default_factory=dict)

    @property
    def root_pem(self) -> str:
        return pem_of(self.root.certificate)

    def client(self, text: str, days: float = 30) -> tuple[str, str]:
        """Return (certificate, key) in PEM of a TLS client that the server knows."""
        key = ec.generate_private_key(ec.SECP256R1())
        start = self._time() - timedelta(minutes=1)
        issued = self.issuing.sign(name(text), key.public_key(), start, days)
        return pem_of(issued) + pem_of(self.issuing.certificate), key_pem_of(key)

    def answer(self, operation: str, who: str | None, body: bytes) -> Answer:
        """Answer one request; `who` is None where nobody was proven."""
        self.asked.append((operation, who or "nobody"))
        if operation in self.instead:
            return self.instead[operation]
        if operation == "cacerts":
            chain = certs_only(self.root.certificate, self.issuing.certificate)
            return 200, {"Content-Type": PKCS7}, chain
        if operation not in ("simpleenroll", "simplereenroll"):
            return 404, {}, b""
        if who is None:
            return 401, {"WWW-Authenticate": 'Basic realm="est"'}, b""
        request = x509.load_der_x509_csr(base64.b64decode(body))
        ca = any(
            isinstance(e.value, x509.BasicConstraints) and e.value.ca for e in request.extensions
        )
        start = self._time() - timedelta(minutes=1)
        issued = self.issuing.sign(request.subject, request.public_key(), start, self.days, ca=ca)
        return 200, {"Content-Type": PKCS7}, certs_only(issued)

    def _time(self) -> datetime:
        return (self.now or datetime.now(UTC)).replace(microsecond=0)


@contextlib.contextmanager
def est_server(folder: Path, *, now: datetime | None = None) -> Iterator[EstServer]:
    """Run an EST server; `now` is its time, the machine's where it is None."""
    start = datetime.now(UTC) - timedelta(days=1)
    early = min(start, now or start) - timedelta(days=1)
    root = new_authority("EST root", early)
    served = EstServer(root, new_authority("EST issuing CA", early, root), now=now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_server_file(folder, served.issuing, start))
    context.load_verify_locations(cadata=served.root_pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    # the clients of a test may live at another time than this machine
    context.verify_flags |= 0x200000  # X509_V_FLAG_NO_CHECK_TIME
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    served.url = f"https://127.0.0.1:{server.server_address[1]}{PATH}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _server_file(folder: Path, issuing: Authority, start: datetime) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = issuing.sign(name("est"), key.public_key(), start, 5, names=[address])
    file = folder / "est-server.pem"
    file.write_text(key_pem_of(key) + pem_of(certificate) + pem_of(issuing.certificate))
    return file


def _handler(served: EstServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # head and body in one piece: two would wait for an acknowledgement

        def do_GET(self) -> None:
            self._talk()

        def do_POST(self) -> None:
            self._talk()

        def log_message(self, *_arguments: object) -> None:
            pass

        def _talk(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            operation = self.path.removeprefix(f"{PATH}/")
            status, headers, data = served.answer(operation, self._who(), body)
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _who(self) -> str | None:
            assert isinstance(self.connection, ssl.SSLSocket)
            shown = self.connection.getpeercert(binary_form=True)
            if shown is not None:
                subject = x509.load_der_x509_certificate(shown).subject
                return f"certificate {subject.rfc4514_string()}"
            kind, _, pair = self.headers.get("Authorization", "").partition(" ")
            if kind == "Basic" and not served.needs_certificate:
                user, _, password = base64.b64decode(pair).decode().partition(":")
                if served.logins.get(user) == password:
                    return f"login {user}"
            return None

    return Handler
