"""The local CA of certd: preloaded or issued by the settings, and what it may sign."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509 as pyca
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from harness.services import Services
from skerry.base.errors import SkerryError
from skerry.certs import x509
from skerry.certs.errors import CertFileError, ParameterError
from skerry.certs.issuing import CertIssuer
from skerry.certs.local_ca import LocalCaKeeper
from skerry.certs.model import parse_settings
from skerry.certs.remote_key import remote_key
from skerry.certs.store import CertStore
from skerry.keys.client import KeysClient

SETTINGS = parse_settings(
    {
        "cert_issuance": {
            "local_ca": {"cert": "local-ca", "pk": "local-ca"},
            "local-ca": {"method": "self_signed", "expiry_days": 100, "common_name": "the CA"},
            "aziot-edged-ca": {"method": "local_ca", "expiry_days": 30},
        }
    }
)
UNNAMED = parse_settings(
    {
        "cert_issuance": {
            "local_ca": {"cert": "local-ca", "pk": "local-ca"},
            "local-ca": {"method": "self_signed"},
            "aziot-edged-ca": {"method": "local_ca"},
        }
    }
)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class MovableClock:
    """Time that a test sets."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeysClient]:
    """A client of a keyd that lets us use every key."""
    running = Services(tmp_path / "services")
    running.configure("keyd", f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n')
    running.host("keyd")
    yield KeysClient(running.socket("keyd"))
    running.stop()


def edge_ca_request() -> bytes:
    """Return the request of an edge CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    return x509.ca_request(x509.common_name("edge"), key)


def test_an_issued_local_ca_is_made_once(keys: KeysClient, tmp_path: Path) -> None:
    """The first certificate makes the CA, the second is signed by the same."""
    store = CertStore(tmp_path, {})
    issuer = CertIssuer(SETTINGS, store, keys, None, MovableClock(), lambda: None)
    first, second = (
        x509.load_chain(issuer.by_settings("aziot-edged-ca", edge_ca_request())) for _ in range(2)
    )
    assert first[1] == second[1] == x509.load_chain(store.get("local-ca"))[0]
    assert first[1].subject == x509.common_name("the CA")
    assert first[1].not_valid_after_utc == START + timedelta(days=100)
    first[0].verify_directly_issued_by(first[1])


def test_a_local_ca_without_a_name_is_named_by_its_id(keys: KeysClient, tmp_path: Path) -> None:
    """Settings that name no subject still give a CA that can be told apart."""
    issuer = CertIssuer(UNNAMED, CertStore(tmp_path, {}), keys, None, MovableClock(), lambda: None)
    chain = x509.load_chain(issuer.by_settings("aziot-edged-ca", edge_ca_request()))
    assert chain[1].subject == x509.common_name("local-ca")


def test_an_expired_local_ca_is_issued_again_for_the_same_key(
    keys: KeysClient, tmp_path: Path
) -> None:
    """What it signed before still chains to the key; the name stays."""
    clock = MovableClock()
    issuer = CertIssuer(SETTINGS, CertStore(tmp_path, {}), keys, None, clock, lambda: None)
    before = x509.load_chain(issuer.by_settings("aziot-edged-ca", edge_ca_request()))[1]
    clock.time = START + timedelta(days=101)
    after = x509.load_chain(issuer.by_settings("aziot-edged-ca", edge_ca_request()))[1]
    assert after != before
    assert after.public_key() == before.public_key()
    assert after.not_valid_after_utc == clock.time + timedelta(days=100)


def test_a_ca_whose_usage_forbids_it_signs_nothing() -> None:
    """A CA certificate without keyCertSign is refused as an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = pyca.KeyUsage(True, False, False, False, False, False, False, False, False)
    name = x509.common_name("signs data only")
    certificate = (
        pyca.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=1))
        .add_extension(pyca.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(ParameterError, match="CN=signs data only' does not allow it to sign"):
        x509.issue(
            x509.load_request(edge_ca_request()),
            x509.Issuer(certificate, key),
            now=START,
            lifetime=timedelta(days=1),
        )


def test_certd_stores_no_private_key(tmp_path: Path) -> None:
    """A PEM that a tool wrote with the key in it is refused, and nothing is written."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.load_request(x509.ca_request(x509.common_name("x"), key))
    pem = x509.to_pem([x509.issue(request, key, now=START, lifetime=timedelta(days=1))])
    store = CertStore(tmp_path, {})
    with pytest.raises(ParameterError, match="holds a private key too"):
        store.put("both", pem + x509.key_pem(key))
    assert list((tmp_path / "certs").iterdir()) == []


def test_preloaded_certificates_are_not_written(tmp_path: Path) -> None:
    """Neither a file nor a list of the settings is replaced or removed."""
    store = CertStore(tmp_path, {"file": tmp_path / "x.pem", "list": ("file",)})
    for cert_id in ("file", "list"):
        with pytest.raises(ParameterError, match="is preloaded by the settings"):
            store.delete(cert_id)


def test_lists_are_not_followed_into_lists(tmp_path: Path) -> None:
    """A list names certificates; one that names another list has nothing of it, as upstream."""
    store = CertStore(tmp_path, {"outer": ("inner",), "inner": ("leaf",)})
    assert store.find("outer") is None


@pytest.mark.parametrize("content", [b"", b"no PEM", b"x" * (1024 * 1024 + 1)])
def test_a_file_that_is_no_certificate_is_named(tmp_path: Path, content: bytes) -> None:
    """The message has the path."""
    path = tmp_path / "given.pem"
    path.write_bytes(content)
    with pytest.raises(CertFileError, match=rf"certificate file {path} cannot be used"):
        CertStore(tmp_path, {"given": path}).get("given")


def test_a_state_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    """The service cannot start, and says with which path."""
    (tmp_path / "certs").write_text("in the way")
    with pytest.raises(SkerryError, match=rf"state folder {tmp_path}/certs cannot be used"):
        CertStore(tmp_path, {})


def keeper(keys: KeysClient, folder: Path, clock: MovableClock) -> LocalCaKeeper:
    """Return the local CA of the settings as a newly started certd has it."""
    assert SETTINGS.local_ca is not None
    return LocalCaKeeper(
        SETTINGS.local_ca,
        SETTINGS.issuance["local-ca"],
        CertStore(folder, {}),
        keys,
        lambda _cert_id, _csr: b"",
        clock,
        lambda: None,
    )


def test_the_local_ca_renews_itself_before_it_expires(keys: KeysClient, tmp_path: Path) -> None:
    """At four fifths of its life, for the same key; nothing is due before it was first made."""
    clock = MovableClock()
    local_ca = keeper(keys, tmp_path, clock)
    assert local_ca.due(None) is None
    local_ca.handle()
    before = x509.load_chain(CertStore(tmp_path, {}).get("local-ca"))[0]
    due = local_ca.due(None)
    assert due is not None
    assert due - START == timedelta(days=80) - timedelta(minutes=1)
    clock.time = due
    assert local_ca.due(None) == due
    assert local_ca.name == "renew certificate local-ca"
    local_ca.perform()
    after = x509.load_chain(CertStore(tmp_path, {}).get("local-ca"))[0]
    assert after.not_valid_after_utc == due + timedelta(days=100)
    assert after.public_key() == before.public_key()
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = x509.issue(
        x509.load_request(x509.client_request(x509.common_name("m"), ["m"], key)),
        x509.Issuer(after, remote_key(keys, local_ca.handle())),
        now=due,
        lifetime=timedelta(days=1),
    )
    leaf.verify_directly_issued_by(before)


def test_a_local_ca_whose_key_was_lost_is_made_anew(keys: KeysClient, tmp_path: Path) -> None:
    """Its certificate would sign for nobody."""
    local_ca = keeper(keys, tmp_path, MovableClock())
    keys.delete_key_pair(local_ca.handle())
    made = x509.load_chain(CertStore(tmp_path, {}).get("local-ca"))[0]
    handle = local_ca.handle()
    anew = x509.load_chain(CertStore(tmp_path, {}).get("local-ca"))[0]
    assert anew != made
    assert anew.public_key() == remote_key(keys, handle).public_key()


def test_a_local_ca_of_its_own_making_is_taken_as_brought_along(
    keys: KeysClient, tmp_path: Path
) -> None:
    """`method = "local_ca"` for the local CA itself says nothing; it has to be there."""
    settings = parse_settings(
        {
            "cert_issuance": {
                "local_ca": {"cert": "local-ca", "pk": "local-ca"},
                "local-ca": {"method": "local_ca"},
                "aziot-edged-ca": {"method": "local_ca"},
            }
        }
    )
    store = CertStore(tmp_path, {})
    issuer = CertIssuer(settings, store, keys, None, MovableClock(), lambda: None)
    keys.create_key_pair("local-ca")
    with pytest.raises(ParameterError, match="there is no certificate 'local-ca'"):
        issuer.by_settings("aziot-edged-ca", edge_ca_request())
    (job,) = issuer.jobs()
    assert job.due(None) is None
    job.perform()
    assert store.find("local-ca") is None
