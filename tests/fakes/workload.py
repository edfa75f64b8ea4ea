"""The workload API as one module meets it: a unix socket, certificates of a CA of the test."""

import base64
import hmac
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skerry.base.clock import SystemClock
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import get_logger
from skerry.base.server import Listener, Server
from skerry.base.sockets import bind_unix

VERSION = "2022-08-03"
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A self-signed CA."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, name, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> str:
        return _pem(self.certificate)

    def issue(self, name: str, *, days: int = 1, server: bool = False) -> tuple[str, str]:
        """Return certificate and key of a client or server, both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.subject.rfc4514_string().removeprefix("CN=")
        builder = _builder(name, issuer, key.public_key(), days)
        used = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        usage = x509.ExtendedKeyUsage([used])
        certificate = builder.add_extension(usage, False).sign(self.key, hashes.SHA256())
        return _pem(certificate), _private_pem(key)


@dataclass
class FakeWorkload:
    """What the API answers; a test changes it to see the module notice."""

    module: str = "sensor"
    generation: str = "7"
    authority: Authority = field(default_factory=lambda: Authority.make("edge CA"))
    trusted: Authority | None = None
    beside: str = ""
    certificate_name: str | None = None
    days: int = 1
    key_of_another: bool = False
    digest: bytes | None = None
    key: bytes = b"key"
    master: bytes = bytes(32)
    """What `encrypt` and `decrypt` use."""
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    answers: dict[str, object] = field(default_factory=dict)
    signed: list[bytes] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    """Certificates of servers that were made."""

    @contextmanager
    def serving(self, socket_path: Path) -> Iterator[None]:
        """Serve the workload API on a socket."""
        router = Router([VERSION])
        router.add("GET", "/trust-bundle", self._trust_bundle)
        router.add("POST", "/modules/{name}/certificate/identity", self._identity)
        router.add("POST", "/modules/{name}/genid/{generation}/sign", self._sign)
        router.add("POST", "/modules/{name}/genid/{generation}/encrypt", self._encrypt)
        router.add("POST", "/modules/{name}/genid/{generation}/decrypt", self._decrypt)
        certificate = "/modules/{name}/genid/{generation}/certificate/server"
        router.add("POST", certificate, self._server)
        router.add("GET", "/modules/{name}/deployment", self._answer("deployment"))
        router.add("GET", "/modules/{name}/scope", self._answer("scope"))
        listener = Listener("workload", bind_unix(socket_path, mode=0o600), router)
        server = Server([listener], clock=SystemClock(), log=get_logger("fake-workload"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield
        finally:
            server.stop()
            thread.join()
            socket_path.unlink(missing_ok=True)

    def _trust_bundle(self, _request: Request) -> Response:
        self._refuse("trust-bundle")
        if "trust-bundle" in self.answers:
            return Response.json(self.answers["trust-bundle"])
        bundle = (self.trusted or self.authority).pem + self.beside
        return Response.json({"certificate": bundle})

    def _identity(self, _request: Request, name: str) -> Response:
        self._refuse("identity")
        if "identity" in self.answers:
            return Response.json(self.answers["identity"])
        certificate, key = self.authority.issue(self.certificate_name or name, days=self.days)
        if self.key_of_another:
            key = self.authority.issue(name)[1]
        answer = {
            "certificate": certificate,
            "privateKey": {"type": "key", "bytes": key},
            "expiration": "2026-12-01T00:00:00Z",
        }
        return Response.json(answer, 201)

    def _server(self, request: Request, name: str, generation: str) -> Response:
        self._refuse("server")
        if "server" in self.answers:
            return Response.json(self.answers["server"], 201)
        if (name, generation) != (self.module, self.generation):
            raise HttpError(403, "forbidden")
        asked = str(request.json_object()["commonName"])
        certificate, key = self.authority.issue(asked, days=self.days, server=True)
        self.served.append(certificate)
        answer = {
            "certificate": certificate + self.authority.pem,
            "privateKey": {"type": "key", "bytes": key},
            "expiration": (datetime.now(UTC) + self.days * _DAY).isoformat(),
        }
        return Response.json(answer, 201)

    def _answer(self, what: str) -> Callable[..., Response]:
        def answer(_request: Request, name: str) -> Response:
            if what not in self.answers:
                raise HttpError(404, f"there is no {what} for {name}")
            return Response.json(self.answers[what])

        return answer

    def _sign(self, request: Request, name: str, generation: str) -> Response:
        self._refuse("sign")
        if "sign" in self.answers:
            return Response.json(self.answers["sign"])
        if (name, generation) != (self.module, self.generation):
            raise HttpError(403, "forbidden")
        data = base64.b64decode(str(request.json_object()["data"]))
        self.signed.append(data)
        digest = self.digest or hmac.new(self.key, data, sha256).digest()
        return Response.json({"digest": base64.b64encode(digest).decode()})

    def _encrypt(self, request: Request, name: str, generation: str) -> Response:
        self._refuse("encrypt")
        body = {key: base64.b64decode(str(value)) for key, value in request.json_object().items()}
        bound = (name + generation).encode()
        cipher = AESGCM(self.master)
        made = cipher.encrypt(body["initializationVector"], body["plaintext"], bound)
        return Response.json({"ciphertext": base64.b64encode(made).decode()})

    def _decrypt(self, request: Request, name: str, generation: str) -> Response:
        self._refuse("decrypt")
        body = {key: base64.b64decode(str(value)) for key, value in request.json_object().items()}
        bound = (name + generation).encode()
        try:
            cipher = AESGCM(self.master)
            found = cipher.decrypt(body["initializationVector"], body["ciphertext"], bound)
        except InvalidTag as error:
            raise HttpError(400, "the ciphertext is not what this key has made") from error
        return Response.json({"plaintext": base64.b64encode(found).decode()})

    def _refuse(self, call: str) -> None:
        if call in self.refusals:
            raise HttpError(*self.refusals[call])


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePublicKey, days: int = 1
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * _DAY)
        .not_valid_after(now + days * _DAY)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode("ascii")
