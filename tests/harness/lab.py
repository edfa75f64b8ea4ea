"""Calls to the lab cloud: through TLS like a device, or straight to its routes, which is faster."""

import hmac
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from skerry.base.log import get_logger
from skerry.heads.routes import Answer, Request
from skerry.wire import sas
from skerry.wire.tpm_credential import make_import_blob
from skerry_lab.cloud import SCHEMAS, Cloud, Names, open_cloud
from skerry_lab.database import migrate
from skerry_lab.dps.service import DpsSettings
from skerry_lab.errors import ApiError
from skerry_lab.messages.model import MessageSettings
from skerry_lab.store import LabRegistry, Store

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
HUB = "hub.example"


@dataclass
class SetClock:
    """A clock that tests move; both of its times move together."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def move(self, seconds: float) -> None:
        """Move on, or back."""
        self.time += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    body: object
    headers: Mapping[str, str]

    def __getitem__(self, name: str) -> object:
        assert isinstance(self.body, dict), self
        return self.body[name]

    @property
    def message(self) -> str:
        """The text of an error of either API."""
        assert isinstance(self.body, dict), self
        return str(self.body.get("message") or self.body.get("Message"))


@dataclass
class Hosted:
    """A lab without a server: the routes of a data folder, at a time that the test sets."""

    folder: Path
    settings: DpsSettings = field(default_factory=DpsSettings)
    clock: SetClock = field(default_factory=SetClock)

    def __post_init__(self) -> None:
        self.store = Store(self.folder, names=Names(HUB), settings=self.settings, clock=self.clock)
        self.registry = LabRegistry(self.store)
        self.scope = self.store.cloud.id_scope

    def call(
        self,
        line: str,
        body: object = None,
        *,
        token: str | None = None,
        certificates: tuple[bytes, ...] = (),
        version: str | None = "2021-06-01",
        if_match: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Got:
        """Call `"METHOD /path"`."""
        method, path = line.split()
        data = body if isinstance(body, bytes) else b"" if body is None else _dump(body)
        sent = {"authorization": token, "if-match": if_match}
        headers = {name: value for name, value in sent.items() if value is not None}
        asked = {**({} if version is None else {"api-version": version}), **(query or {})}
        request = Request(method, path, asked, headers, data, certificates)
        try:
            answer = self.store.do(lambda cloud: cloud.answer(request))
        except Exception as error:
            answer = self.store.cloud.refusal(error)
        parsed = json.loads(answer.body) if answer.body else None
        return Got(answer.status, parsed, answer.headers)

    def token(self, audience: str, key: bytes, name: str | None = None, seconds: int = 30) -> str:
        """Return a token that is valid from now."""
        return make_token(audience, key, self.clock.now().timestamp() + seconds, name)


def make_token(audience: str, key: bytes, expiry: float, name: str | None = None) -> str:
    """Return a token as identityd makes it."""
    encoded = sas.audience(audience)
    signature = hmac.digest(key, sas.sign_text(encoded, int(expiry)), "sha256")
    return sas.token(encoded, signature, int(expiry), name)


@dataclass(frozen=True)
class Signed:
    """A key with its certificate, and those above it."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def der(self) -> tuple[bytes, ...]:
        return tuple(part.public_bytes(Encoding.DER) for part in self.chain)

    @property
    def pem(self) -> str:
        """The key's own certificate."""
        return self.chain[0].public_bytes(Encoding.PEM).decode()

    @property
    def chain_pem(self) -> str:
        return "".join(part.public_bytes(Encoding.PEM).decode() for part in self.chain)

    def write(self, folder: Path) -> Path:
        """Write chain and key into one file."""
        file = folder / "client.pem"
        file.write_text(self.chain_pem + self.key_pem)
        return file

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def signed(
    name: str,
    by: Signed | None = None,
    *,
    authority: bool = False,
    start: datetime = START - timedelta(days=1),
    days: int = 30,
    path_length: int | None = None,
    address: str = "",
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Signed:
    """Make a certificate, self-signed without `by`; a server's may name an address."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.chain[0].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
    )
    if address:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    return Signed(key, (certificate, *(by.chain if by else ())))


def _dump(body: object) -> bytes:
    return json.dumps(body).encode()


def memory_cloud() -> tuple[Cloud, sqlite3.Connection]:
    """Return a lab in memory, for one thread; its connection is in no transaction."""
    return _cloud_on(sqlite3.connect(":memory:", isolation_level=None))


def file_cloud(
    path: Path, messages: MessageSettings | None = None
) -> tuple[Cloud, sqlite3.Connection]:
    """Open a lab as its database's thread does, in this thread, which may be killed."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
    return _cloud_on(connection, messages)


def _cloud_on(
    connection: sqlite3.Connection, messages: MessageSettings | None = None
) -> tuple[Cloud, sqlite3.Connection]:
    connection.row_factory = sqlite3.Row
    migrate(connection, SCHEMAS)
    cloud = open_cloud(
        connection,
        clock=SetClock(),
        log=get_logger("lab"),
        names=Names(HUB),
        wrap=make_import_blob,
        settings=DpsSettings(),
        messages=messages,
    )
    return cloud, connection


def ask(cloud: Cloud, connection: sqlite3.Connection, request: Request) -> Answer:
    """Ask a lab in memory and forget what it changed; a defect is raised."""
    connection.execute("BEGIN")
    try:
        return cloud.answer(request)
    except ApiError as error:
        return cloud.refusal(error)
    finally:
        connection.execute("ROLLBACK")
