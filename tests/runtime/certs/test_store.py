"""Certificates on disk: whole after any kill, a full disk leaves what was, files are checked."""

import base64
import errno
import os
import resource
import signal
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509 as x
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from harness.kill_points import kill_at_every_write
from skerry.base.errors import SettingsError
from skerry.certs import pkcs7, x509
from skerry.certs.errors import CertFileError, ParameterError
from skerry.certs.model import Method, parse_settings
from skerry.certs.store import CertStore

GOLDEN = Path(__file__).resolve().parents[2] / "golden/config"
RENDERED = sorted(GOLDEN.glob("*/certd.toml"))


def certificate(name: str) -> bytes:
    """Return a self-signed certificate in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.load_request(x509.ca_request(x509.common_name(name), key))
    now = datetime.now(UTC)
    return x509.to_pem([x509.issue(request, key, now=now, lifetime=timedelta(days=1))])


OLD, NEW = certificate("old"), certificate("new")


@pytest.mark.parametrize("existing", [None, OLD])
def test_a_kill_at_any_write_leaves_the_old_certificate_or_the_new(
    tmp_path: Path, existing: bytes | None
) -> None:
    """At every system call that changes a file; the next start clears what was left behind."""

    def prepare() -> None:
        store = CertStore(tmp_path, {})
        store.delete("x")
        if existing is not None:
            store.put("x", existing)

    def check() -> None:
        store = CertStore(tmp_path, {})
        assert store.find("x") in (existing, NEW)
        left = [path.name for path in (tmp_path / "certs").iterdir()]
        assert all(not name.endswith(".tmp") for name in left)

    work = CertStore(tmp_path, {})
    found = kill_at_every_write(prepare, lambda: work.put("x", NEW), check)
    assert {"create", "write", "fsync", "rename"} <= set(found.calls)


def test_a_kill_at_any_write_of_a_removal_leaves_it_or_not(tmp_path: Path) -> None:
    """A removed certificate is gone, or there as it was."""
    store = CertStore(tmp_path, {})

    def check() -> None:
        assert store.find("x") in (OLD, None)

    kill_at_every_write(lambda: store.put("x", OLD), lambda: store.delete("x"), check)


def test_a_full_disk_leaves_what_was(tmp_path: Path) -> None:
    """The write fails as a whole: the old certificate stays, no temporary file remains."""
    store = CertStore(tmp_path, {})
    store.put("x", OLD)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            store.put("x", NEW)
        except OSError as error:
            os._exit(0 if error.errno == errno.EFBIG else 1)
        os._exit(2)

    child = os.fork()
    if child == 0:
        work()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert store.find("x") == OLD
    assert [path.suffix for path in (tmp_path / "certs").iterdir()] == [".cer"]


@given(st.integers(0, len(OLD) - 30))
def test_a_truncated_file_is_named(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    """Cut anywhere within the certificate."""
    folder = tmp_path_factory.mktemp("store")
    store = CertStore(folder, {})
    store.put("x", OLD)
    (path,) = (folder / "certs").iterdir()
    path.write_bytes(OLD[:length])
    with pytest.raises(CertFileError, match=f"certificate file {path} cannot be used"):
        store.get("x")


@given(st.binary(max_size=300))
def test_no_bytes_are_taken_for_a_certificate(data: bytes) -> None:
    """Alone, and between the marks of PEM."""
    for pem in (data, b"-----BEGIN CERTIFICATE-----\n%b\n-----END CERTIFICATE-----\n" % data):
        with pytest.raises(ParameterError):
            x509.load_chain(pem)


def test_a_chain_too_large_to_be_read_again_is_not_stored(tmp_path: Path) -> None:
    """A bound on what one caller can put on the disk."""
    store = CertStore(tmp_path, {})
    with pytest.raises(ParameterError, match="expected at most 1048576"):
        store.put("x", OLD + b"#" * 1024 * 1024)
    assert store.find("x") is None


def test_a_certificate_of_no_known_key_is_not_stored(tmp_path: Path) -> None:
    """Nothing could be done with it."""
    der = x.load_pem_x509_certificate(OLD).public_bytes(serialization.Encoding.DER)
    odd = der.replace(b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x63")
    pem = b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n"
    with pytest.raises(ParameterError, match="the certificate cannot be used"):
        CertStore(tmp_path, {}).put("x", pem % base64.encodebytes(odd))


def levels() -> list[x.Certificate]:
    """Return a root, two CAs below each other, and a leaf."""
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.load_request(x509.ca_request(x509.common_name("root"), key, path_length=9))
    made = [x509.issue(asked, key, now=now, lifetime=timedelta(days=1))]
    for name in ("upper", "lower", "leaf"):
        issuer = x509.Issuer(made[-1], key)
        key = ec.generate_private_key(ec.SECP256R1())
        asked = x509.load_request(x509.ca_request(x509.common_name(name), key, path_length=9))
        made.append(x509.issue(asked, issuer, now=now, lifetime=timedelta(days=1), may_be_ca=True))
    return made


LEVELS = levels()


@given(st.permutations(LEVELS), st.lists(st.sampled_from(LEVELS)))
def test_chains_are_in_order_whatever_order_they_came_in(
    shuffled: list[x.Certificate], again: list[x.Certificate]
) -> None:
    """Leaf first, each one's issuer after it, every certificate once."""
    assert pkcs7.chain(LEVELS[-1], [*shuffled, *again]) == LEVELS[::-1]


def test_a_plain_path_is_a_file_too(tmp_path: Path) -> None:
    """`file://` and a path mean the same, percent signs only in the former."""
    (tmp_path / "a b.pem").write_bytes(OLD)
    settings = parse_settings(
        {
            "preloaded_certs": {
                "uri": f"file://{tmp_path}/a%20b.pem",
                "path": f"{tmp_path}/a b.pem",
                "both": ["uri", "absent", "path"],
            }
        }
    )
    store = CertStore(tmp_path, settings.preloaded)
    assert store.get("uri") == store.get("path") == OLD
    assert store.get("both") == OLD + OLD


@pytest.mark.parametrize("path", RENDERED, ids=[path.parent.name for path in RENDERED])
def test_every_rendered_file_is_understood(path: Path) -> None:
    """What the plan renders for any configuration is what certd reads."""
    settings = parse_settings(tomllib.loads(path.read_text()))
    for cert_id, issuance in settings.issuance.items():
        if issuance.method is Method.EST and issuance.login is not None:
            assert issuance.login.username or issuance.login.identity, cert_id


URL = "https://est.example/.well-known/est"
WRONG_EST = [
    pytest.param(5, "cert_issuance.est is 5, expected a table", id="no table"),
    pytest.param({"trusted_certs": "x"}, "trusted_certs is 'x', expected a list", id="trusted"),
    pytest.param({"urls": {"default": "http://x"}}, "urls.default is 'http://x'", id="http"),
    pytest.param({"urls": {"default": "https://x:y"}}, "urls.default is 'https://x:y'", id="port"),
    pytest.param({"urls": {"default": 5}}, "urls is {'default': 5}, expected", id="url"),
    pytest.param({"username": "u"}, "has one of username and password", id="half a login"),
    pytest.param({"username": 5, "password": "x"}, "have to be texts", id="login"),
    pytest.param({"headers": {"a": 5}}, "headers is {'a': 5}", id="headers"),
    pytest.param({"identity_cert": "x"}, "needs both identity_cert and identity_pk", id="identity"),
    pytest.param(
        {"bootstrap_identity_cert": "x", "bootstrap_identity_pk": "x"},
        "bootstrap_identity_cert needs identity_cert",
        id="bootstrap alone",
    ),
    pytest.param({"identity_auto_renew": {"retry": "x"}}, "identity_auto_renew.retry", id="renew"),
]


@pytest.mark.parametrize(("table", "message"), WRONG_EST)
def test_wrong_est_settings_are_named(table: object, message: str) -> None:
    """By key and value; a password is never shown."""
    with pytest.raises(SettingsError) as caught:
        parse_settings({"cert_issuance": {"est": table}})
    assert message in str(caught.value)
    assert "'password'" not in str(caught.value)


def test_a_certificate_may_say_all_of_its_est_server_itself() -> None:
    """Address, login, identity and renewal."""
    settings = parse_settings(
        {
            "cert_issuance": {
                "a": {
                    "method": "est",
                    "url": f"{URL}/",
                    "username": "u",
                    "password": "secret",
                    "identity_cert": "est-id-a",
                    "identity_pk": "est-id-a",
                }
            }
        }
    )
    issuance = settings.issuance["a"]
    assert issuance.url == URL
    assert issuance.login is not None
    assert "secret" not in repr(settings)
    assert settings.issuance_of("a-temp") == issuance
