"""The lab's root and its server certificate."""

import ipaddress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from harness.lab import START
from skerry_lab import authority
from skerry_lab.database import Database

SCHEMAS = {"authority": authority.SCHEMA}


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "lab.db", SCHEMAS)


def ensure(database: Database, *names: str, days: int = 0) -> authority.Authority:
    return database.run(
        lambda connection: authority.ensure(connection, names, START + timedelta(days=days))
    )


def test_the_root_may_sign_and_the_server_may_not(database: Database) -> None:
    """The root is a P-256 authority with a key id; the server names it as its issuer."""
    made = ensure(database, "lab.example", "192.0.2.7")
    root, server = made.root.certificate, made.server.certificate
    server.verify_directly_issued_by(root)
    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    aki = server.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    ski = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert aki.key_identifier == ski.digest
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "lab.example"}
    assert set(names.get_values_for_type(x509.IPAddress)) == {
        ipaddress.ip_address(text) for text in ("127.0.0.1", "::1", "192.0.2.7")
    }
    database.close()


def test_what_is_good_is_kept(database: Database) -> None:
    """A second start changes nothing, also one with fewer names."""
    assert ensure(database, "lab.example") == ensure(database)
    database.close()


@pytest.mark.parametrize(
    ("names", "days"), [(("other.example",), 0), ((), 368)], ids=["new name", "30 days left"]
)
def test_a_new_name_or_age_renews_the_server_only(
    database: Database, names: tuple[str, ...], days: int
) -> None:
    """The root, which devices trust, stays."""
    before = ensure(database)
    after = ensure(database, *names, days=days)
    assert after.root == before.root
    assert after.server.chain_pem != before.server.chain_pem
    database.close()
