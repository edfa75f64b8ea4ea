"""certd over its real socket, with a real keyd behind it."""

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from harness.services import Services
from skerry.base.client import ApiError, ServiceClient
from skerry.base.errors import SettingsError
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.certs.errors import UnauthorizedError
from skerry.certs.model import Principal, Settings, parse_settings
from skerry.certs.remote_key import remote_key
from skerry.keys.client import KeysClient

CONFIG = """
[cert_issuance]
self = {{ method = "self_signed", expiry_days = 10, subject = {{ CN = "named", O = "Works" }} }}
rsa-self = {{ method = "self_signed", common_name = "rsa" }}
by-local = {{ method = "local_ca", expiry_days = 5 }}
local_ca = {{ cert = "local-ca", pk = "local-ca" }}

[preloaded_certs]
fixed = "file://{folder}/fixed.pem"
absent = "file://{folder}/absent.pem"
bundle = ["ca", "absent", "fixed"]

[[principal]]
uid = {uid}
certs = ["*"]
"""


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A keyd and a certd for the tests of this file."""
    running = Services(tmp_path_factory.mktemp("certd"))
    uid = os.getuid()
    running.configure("keyd", f'[[principal]]\nuid = {uid}\nkeys = ["*"]\n')
    running.configure("certd", CONFIG.format(folder=running.folder, uid=uid))
    running.host("keyd")
    running.host("certd")
    yield running
    running.stop()


@pytest.fixture
def keys(services: Services) -> KeysClient:
    """A client of that keyd."""
    return KeysClient(services.socket("keyd"))


@pytest.fixture
def certs(services: Services) -> CertsClient:
    """A client of that certd."""
    return CertsClient(services.socket("certd"))


def make_ca(keys: KeysClient, certs: CertsClient, name: str, algorithm: str) -> str:
    """Store a CA certificate whose key is in keyd; return the key's handle."""
    handle = keys.create_key_pair(name, algorithm)
    key = remote_key(keys, handle)
    csr = x509.load_request(x509.ca_request(x509.common_name(name), key))
    cert = x509.issue(csr, key, now=datetime.now(UTC), lifetime=timedelta(days=20))
    certs.put(name, x509.to_pem([cert]))
    return handle


def module_csr(name: str = "hub") -> bytes:
    """Return a request by a fresh key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return x509.server_request(x509.common_name(name), [name], key)


@pytest.mark.parametrize("algorithm", ["ec-p256", "rsa-2048"])
def test_chains_by_keys_in_keyd_verify(
    keys: KeysClient, certs: CertsClient, tmp_path: Path, algorithm: str
) -> None:
    """A certificate issued by a CA whose key never leaves keyd passes openssl, EC and RSA."""
    handle = make_ca(keys, certs, f"ca-{algorithm}", algorithm)
    chain = certs.create("server", module_csr(), f"ca-{algorithm}", handle)
    assert certs.get("server") == chain
    (tmp_path / "ca.pem").write_bytes(certs.get(f"ca-{algorithm}"))
    (tmp_path / "chain.pem").write_bytes(chain)
    subprocess.run(
        [
            "openssl",
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-verify_hostname",
            "hub",
            "-CAfile",
            str(tmp_path / "ca.pem"),
            str(tmp_path / "chain.pem"),
        ],
        check=True,
        capture_output=True,
        timeout=20,
    )
    assert len(x509.load_chain(chain)) == 2


@pytest.mark.parametrize(
    ("cert_id", "subject"), [("self", "O=Works,CN=named"), ("rsa-self", "CN=rsa")]
)
def test_self_signed_certificates_use_the_key_of_their_id(
    keys: KeysClient, certs: CertsClient, cert_id: str, subject: str
) -> None:
    """The settings' subject replaces that of the request; issuer and subject are the same."""
    key = remote_key(keys, keys.create_key_pair(cert_id, "rsa-2048" if "rsa" in cert_id else "*"))
    leaf = x509.load_chain(
        certs.create(cert_id, x509.client_request(x509.common_name("asked"), ["x"], key))
    )[0]
    assert leaf.subject.rfc4514_string() == leaf.issuer.rfc4514_string() == subject
    leaf.verify_directly_issued_by(leaf)


def test_self_signing_needs_the_key_of_that_id(keys: KeysClient, certs: CertsClient) -> None:
    """A request by another key is not self-signed by ours."""
    keys.create_key_pair("self")
    with pytest.raises(ApiError, match="the request is not for the key pair 'self'"):
        certs.create("self", module_csr())


def test_the_local_ca_issues_what_the_settings_say(keys: KeysClient, certs: CertsClient) -> None:
    """`local_ca` signs for the ids that name it."""
    make_ca(keys, certs, "local-ca", "ec-p256")
    chain = x509.load_chain(certs.create("by-local", module_csr()))
    chain[0].verify_directly_issued_by(chain[1])
    assert (chain[0].not_valid_after_utc - chain[0].not_valid_before_utc).days == 5


def test_bundles_are_what_is_there(
    keys: KeysClient, certs: CertsClient, services: Services
) -> None:
    """A list gives its members one after another and passes over the absent ones."""
    make_ca(keys, certs, "ca", "ec-p256")
    fixed = certs.get("ca")
    (services.folder / "fixed.pem").write_bytes(fixed.rstrip(b"\n"))
    assert certs.get("bundle") == fixed + fixed


def test_certificates_come_and_go(keys: KeysClient, certs: CertsClient) -> None:
    """A deleted certificate is not found; deleting again is no error."""
    make_ca(keys, certs, "passing", "ec-p256")
    certs.delete("passing")
    certs.delete("passing")
    with pytest.raises(ApiError, match="there is no certificate 'passing'") as caught:
        certs.get("passing")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("cert_id", "message"),
    [
        pytest.param("unknown", "no cert_issuance for 'unknown'", id="nobody issues it"),
        pytest.param("fixed", "no cert_issuance for 'fixed'", id="preloaded"),
        pytest.param("", "certificate id '' is not usable", id="no id"),
    ],
)
def test_what_cannot_be_issued_is_told(certs: CertsClient, cert_id: str, message: str) -> None:
    """The refusal names the id and what is missing."""
    with pytest.raises(ApiError, match=message):
        certs.create(cert_id, module_csr())


def test_a_wrong_request_is_told(certs: CertsClient) -> None:
    """Neither a request nor a certificate that is none is taken."""
    with pytest.raises(ApiError, match="not a PKCS#10 request"):
        certs.create("x", b"nonsense", "ca", "handle")
    with pytest.raises(ApiError, match="there is no certificate in PEM"):
        certs.put("x", b"nonsense")
    with pytest.raises(ApiError, match="is preloaded by the settings"):
        certs.delete("fixed")


def test_a_made_up_issuer_handle_is_refused(keys: KeysClient, certs: CertsClient) -> None:
    """certd cannot be made to sign with a key that the caller has no handle of."""
    make_ca(keys, certs, "guarded", "ec-p256")
    with pytest.raises(ApiError, match="internal error"):
        certs.create("x", module_csr(), "guarded", "sr=x&sig=y")


def test_a_broken_file_is_an_internal_error(
    keys: KeysClient, certs: CertsClient, services: Services
) -> None:
    """A truncated certificate file is logged by its path; the caller gets 500."""
    make_ca(keys, certs, "truncated", "ec-p256")
    path = next((services.folder / "certd" / "state" / "certs").glob("truncated-*"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ApiError) as caught:
        certs.get("truncated")
    assert (caught.value.status, str(caught.value)) == (500, "internal error")


def test_certd_without_keyd_fails_the_request_only(tmp_path: Path) -> None:
    """A request that needs keyd gets 500; reading goes on."""
    running = Services(tmp_path)
    running.configure("certd", '[cert_issuance]\nself = { method = "self_signed" }\n')
    running.start("certd")
    try:
        client = ServiceClient(running.socket("certd"), "2020-09-01")
        with pytest.raises(ApiError) as caught:
            client.post("/certificates", {"certId": "self", "csr": module_csr().decode()})
        assert caught.value.status == (500 if os.getuid() == 0 else 401)
    finally:
        running.stop()


def test_local_ca_that_is_not_set_is_named(tmp_path: Path) -> None:
    """Issuance by a local CA needs one."""
    running = Services(tmp_path)
    principal = f'[[principal]]\nuid = {os.getuid()}\ncerts = ["*"]\n'
    running.configure("certd", f'cert_issuance.a.method = "local_ca"\n{principal}')
    running.start("certd")
    try:
        with pytest.raises(ApiError, match=r"cert_issuance\.local_ca is not set"):
            CertsClient(running.socket("certd")).create("a", module_csr())
    finally:
        running.stop()


def test_principals_guard_writing() -> None:
    """Only root and a uid with a matching pattern may write an id."""
    settings = Settings({}, {}, None, (Principal(1000, ("module/*",)),), 10)
    settings.require(0, "anything")
    settings.require(1000, "module/a")
    for uid, cert_id in ((1000, "device-id"), (1001, "module/a")):
        with pytest.raises(UnauthorizedError, match=f"uid {uid} may not write"):
            settings.require(uid, cert_id)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"cert_issuance": {"a": {"method": "scep"}}}, "a.method is 'scep'", id="method"
        ),
        pytest.param({"cert_issuance": {"a": 1}}, "expected a table", id="issuance"),
        pytest.param(
            {"cert_issuance": {"a": {"method": "self_signed", "expiry_days": 0}}},
            "expiry_days is 0",
            id="days",
        ),
        pytest.param(
            {"cert_issuance": {"a": {"method": "self_signed", "subject": {"CN": 1}}}},
            "expected a table of strings",
            id="subject",
        ),
        pytest.param({"cert_issuance": {"local_ca": {"cert": "x"}}}, "both ids", id="local CA"),
        pytest.param({"preloaded_certs": {"a": "pkcs11:x"}}, "preloaded_certs.a", id="location"),
        pytest.param({"preloaded_certs": []}, "expected a table", id="preloaded"),
        pytest.param({"principal": {}}, "expected an array", id="principals"),
        pytest.param({"principal": [{"uid": 1}]}, "principal", id="principal"),
        pytest.param({"max_requests": "many"}, "max_requests is 'many'", id="limit"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    """Settings that cannot be used stop the service before it serves."""
    with pytest.raises(SettingsError, match=message):
        parse_settings(settings)
