"""A standalone device from the files that `skerry config apply` writes, up to a TLS handshake.

keyd, certd and identityd run as processes with the golden settings of a configuration; the test
does what edged does with them.
"""

import hmac
import os
import re
import socket
import ssl
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_der_x509_certificate

from harness.services import Services
from skerry.base.client import ServiceClient
from skerry.base.errors import SettingsError
from skerry.base.settings import settings_digest
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.certs.model import parse_settings as parse_certd
from skerry.certs.remote_key import remote_key
from skerry.identity.client import IdentityClient
from skerry.identity.settings import parse_settings as parse_identityd
from skerry.keys.client import KeysClient
from skerry.keys.model import parse_settings as parse_keyd

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "config"
EDGE_CA = "aziot-edged-ca"
NAMES = ("keyd", "certd", "identityd")


@pytest.fixture(scope="module", params=["standalone", "edge-ca-local-ca", "local-ca-self-signed"])
def device(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    """The three services, with the uids of the settings replaced by ours."""
    folder = tmp_path_factory.mktemp("device")
    running = Services(folder)
    for name in NAMES:
        text = (GOLDEN / request.param / f"{name}.toml").read_text()
        text = text.replace("file:///var/secrets/local-ca", f"file://{folder}/local-ca")
        running.configure(name, re.sub(r"uid = \d+", f"uid = {os.getuid()}", text))
    make_local_ca(folder)
    try:
        for name in NAMES:
            running.start(name)
        yield running
    finally:
        running.stop()


def make_local_ca(folder: Path) -> None:
    """Write a local CA as an administrator would, with openssl."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "10", "-subj", "/CN=local CA", "-keyout", folder / "local-ca.key.pem",
         "-out", folder / "local-ca.pem"],
        check=True, capture_output=True,
    )  # fmt: skip


def test_from_settings_to_a_tls_server(device: Services, tmp_path: Path) -> None:
    """Device identity, module key, edge CA and a module's server certificate, all verified."""
    keys = KeysClient(device.socket("keyd"))
    certs = CertsClient(device.socket("certd"))
    identities = IdentityClient(device.socket("identityd"))

    identity = identities.device()
    leaf = x509.load_chain(certs.get("device-id"))[0]
    assert leaf.subject == x509.common_name(identity.device_id)

    module = identities.create_module("$edgeHub")
    assert module.key_handle is not None
    master = keys.load_key("aziot_identityd_master_id")
    data = f"$edgeHub:{module.generation_id}:primary".encode()
    key = keys.export_derived(keys.derive(master, data))
    assert keys.sign_hmac(module.key_handle, b"to sign") == hmac.digest(key, b"to sign", "sha256")

    ca_handle = keys.create_key_pair(EDGE_CA)
    subject = x509.common_name(f"aziot-edge CA {identity.device_id}")
    certs.create(EDGE_CA, x509.ca_request(subject, remote_key(keys, ca_handle)))
    trusted = certs.get("aziot-edged-trust-bundle")

    server_key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.server_request(x509.common_name("pump"), ["pump", "edgeHub"], server_key)
    chain = certs.create("aziot-edged/module/edgeHub:1:server", csr, EDGE_CA, ca_handle)

    files = {"trusted": trusted, "chain": chain, "key": x509.key_pem(server_key)}
    for name, content in files.items():
        (tmp_path / f"{name}.pem").write_bytes(content)
    verified = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver",
         "-verify_hostname", "edgeHub", "-partial_chain", "-CAfile",
         tmp_path / "trusted.pem", tmp_path / "chain.pem"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert verified.stdout.strip().endswith("chain.pem: OK"), verified.stderr
    assert handshake(tmp_path, "edgeHub") == "CN=pump"


def handshake(folder: Path, host: str) -> str:
    """Connect two ends by TLS; returns the subject that the client saw."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    client = ssl.create_default_context(cafile=str(folder / "trusted.pem"))
    one, two = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(one, server_side=True) as secured:
            secured.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(two, server_hostname=host) as secured:
            seen = secured.getpeercert(binary_form=True)
            secured.send(b"x")
    finally:
        thread.join()
    assert seen is not None
    return load_der_x509_certificate(seen).subject.rfc4514_string()


def test_the_settings_in_force_are_told(device: Services) -> None:
    """`GET /config` of every service is the digest of its files."""
    versions = {"keyd": "2020-09-01", "certd": "2020-09-01", "identityd": "2020-09-01"}
    told = {
        name: ServiceClient(device.socket(name), version).get("/config")
        for name, version in versions.items()
    }
    expected = {
        name: {"digest": settings_digest(device.folder / name / "config")} for name in versions
    }
    assert told == expected


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_what_apply_writes_is_read_or_refused_by_name(case: str) -> None:
    """Every golden file is accepted, or refused as something that this version has not."""
    parsers = {"keyd": parse_keyd, "certd": parse_certd, "identityd": parse_identityd}
    for name, parse in parsers.items():
        settings = tomllib.loads((GOLDEN / case / f"{name}.toml").read_text())
        try:
            parse(settings)
        except SettingsError as error:
            assert "this version" in str(error)  # noqa: PT017 - either outcome is right
