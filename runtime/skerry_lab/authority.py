"""The lab's own certificate authority: a root made once, and the server's certificate below it.

Keys and certificates lie in the database. `root.pem` to trust is written to `ca.pem` for people,
key and chain of the server to `server.pem` (0600) because `ssl` loads them from a file only.
The server's certificate is made anew when a name is added or 30 of its days are left.
"""

import ipaddress
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SCHEMA = (
    """
    CREATE TABLE authority (
        name TEXT PRIMARY KEY, key_pem TEXT NOT NULL, chain_pem TEXT NOT NULL
    )
    """,
)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_ROOT_DAYS = 3650
_SERVER_DAYS = 397
_RENEW_DAYS = 30
_SKEW = timedelta(days=1)
_ROOT, _SERVER = "root", "server"


@dataclass(frozen=True)
class Identity:
    """A private key and its chain, both PEM; the chain's first certificate is the key's."""

    key_pem: str
    chain_pem: str

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.chain_pem.encode())


@dataclass(frozen=True)
class Authority:
    """The root and the server's identity."""

    root: Identity
    server: Identity


def ensure(connection: sqlite3.Connection, names: Sequence[str], now: datetime) -> Authority:
    """Return the authority, made or renewed as needed; `names` are DNS names and addresses."""
    root = _load(connection, _ROOT)
    if root is None:
        root = _make_root(now)
        _store(connection, _ROOT, root)
    server = _load(connection, _SERVER)
    wanted = list(dict.fromkeys((*LOOPBACK_NAMES, *names)))
    if server is None or not _is_good(server.certificate, wanted, now):
        server = _make_server(root, wanted, now)
        _store(connection, _SERVER, server)
    return Authority(root, server)


def _load(connection: sqlite3.Connection, name: str) -> Identity | None:
    row = connection.execute("SELECT * FROM authority WHERE name = ?", (name,)).fetchone()
    return None if row is None else Identity(row["key_pem"], row["chain_pem"])


def _store(connection: sqlite3.Connection, name: str, identity: Identity) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO authority VALUES (?, ?, ?)",
        (name, identity.key_pem, identity.chain_pem),
    )


def _is_good(certificate: x509.Certificate, names: Sequence[str], now: datetime) -> bool:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        certificate.not_valid_before_utc <= now
        and certificate.not_valid_after_utc > now + timedelta(days=_RENEW_DAYS)
        and set(_general_names(names)) <= set(found)
    )


def _make_root(now: datetime) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"Skerry lab root {serial & 0xFFFFFFFF:08x}")]
    )
    builder = _builder(name, name, key.public_key(), now, _ROOT_DAYS, serial)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(_key_id(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _identity(key, [certificate])


def _make_server(root: Identity, names: Sequence[str], now: datetime) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    root_key = load_pem_private_key(root.key_pem.encode(), None)
    if not isinstance(root_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the root's key is not an EC key")
    issuer = root.certificate
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[-1][:64])])
    builder = _builder(
        name, issuer.subject, key.public_key(), now, _SERVER_DAYS, x509.random_serial_number()
    )
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(_key_id(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
        .sign(root_key, hashes.SHA256())
    )
    return _identity(key, [certificate])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
    serial: int,
) -> x509.CertificateBuilder:
    # A day early: the clock of a fresh device may be behind.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _key_id(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    return [_general_name(name) for name in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _identity(key: ec.EllipticCurvePrivateKey, chain: Sequence[x509.Certificate]) -> Identity:
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Identity(key_pem, "".join(c.public_bytes(Encoding.PEM).decode() for c in chain))
