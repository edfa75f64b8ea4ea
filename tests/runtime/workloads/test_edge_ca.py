"""The edge CA over the life of a device: made, kept, made anew when due, or brought along."""

import http.client
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fakes.docker_engine import DockerEngine
from fakes.est import est_server
from harness.clock import MovableClock
from harness.edged import CONFIG, House, status_of, until
from skerry.certs.client import CertsClient
from skerry.certs.x509 import (
    BEFORE_NOW,
    ca_request,
    common_name,
    issue,
    key_pem,
    load_request,
    to_pem,
)

SELF_SIGNED = """
[edge_ca]
method = "self_signed"
expiry_days = 365
auto_renew = {{ rotate_key = false, threshold = "{}", retry = "4%" }}
"""


EST = """
[cert_issuance.est]
trusted_certs = ["file://{folder}/root.pem"]
[cert_issuance.est.auth]
bootstrap_identity_cert = "file://{folder}/bootstrap.pem"
bootstrap_identity_pk = "file://{folder}/bootstrap.key"
[cert_issuance.est.urls]
default = "{url}"
[edge_ca]
method = "est"
subject = {{ CN = "test CA", ST = "Antarctica" }}
auto_renew = {{ rotate_key = true, threshold = "80%", retry = "4%" }}
"""


@pytest.fixture
def stopped(tmp_path: Path, engine: DockerEngine) -> Iterator[House]:
    """A device of which nothing runs, with an engine."""
    assert engine.images
    made = House(tmp_path, f"unix://{tmp_path / 'docker.sock'}")
    try:
        yield made
    finally:
        made.stop()


def run(house: House, engine: DockerEngine, config: str) -> x509.Certificate:
    """Run the device with a configuration until its agent runs; returns its edge CA."""
    house.stop()
    house.services.hosted.clear()
    house.configure(config)
    house.host_security()
    house.host()
    looks = engine.count("GET", "/containers/edgeAgent/json")
    until(
        lambda: (
            status_of(engine, "edgeAgent") == "running"
            and engine.count("GET", "/containers/edgeAgent/json") > looks
        ),
        "edged tends its agent",
    )
    pem = CertsClient(house.services.socket("certd")).get("aziot-edged-ca")
    return x509.load_pem_x509_certificates(pem)[0]


def test_the_edge_ca_is_a_ca_for_modules_only(stopped: House, engine: DockerEngine) -> None:
    """Named after the device, valid as configured, path length 0."""
    made = run(stopped, engine, CONFIG + SELF_SIGNED.format("80%"))
    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert made.subject.rfc4514_string() == "CN=aziot-edge CA house"
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (
        True,
        True,
        0,
    )
    assert made.not_valid_after_utc - made.not_valid_before_utc == timedelta(days=365) + BEFORE_NOW


def test_the_edge_ca_stays_until_it_is_due(stopped: House, engine: DockerEngine) -> None:
    """A new start keeps it."""
    first = run(stopped, engine, CONFIG + SELF_SIGNED.format("80%"))
    assert run(stopped, engine, CONFIG + SELF_SIGNED.format("80%")) == first


def test_a_renewal_stops_no_module_and_drops_no_connection(
    tmp_path: Path, engine: DockerEngine
) -> None:
    """The agent's connection stays open; over it the next certificate comes from the new CA."""
    clock = MovableClock()
    house = House(tmp_path, f"unix://{tmp_path / 'docker.sock'}", clock=clock)
    try:
        first = run(house, engine, CONFIG)
        house.caller = engine.containers["edgeAgent"].id
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(house.state / "mnt/edgeAgent/workload.sock"))
        with connection:
            assert issuer_over(connection) == first.public_key()
            calls = changes(engine)
            clock.move(timedelta(days=73))
            certs = CertsClient(house.services.socket("certd"))
            until(lambda: leaf_of(certs.get("aziot-edged-ca")) != first, "the CA is renewed")
            renewed = leaf_of(certs.get("aziot-edged-ca"))
            assert renewed.public_key() != first.public_key()
            assert issuer_over(connection) == renewed.public_key()
            assert changes(engine) == calls
            bundle: Any = house.client("edgeAgent/workload.sock").get("/trust-bundle")
            trusted = x509.load_pem_x509_certificates(bundle["certificate"].encode())
            assert trusted == [renewed, first]
    finally:
        house.stop()


def changes(engine: DockerEngine) -> list[tuple[str, str]]:
    """Return what was done to containers, beside looking at them."""
    return [call for call in engine.calls if call[0] != "GET" and not call[1].endswith("/wait")]


def leaf_of(pem: bytes) -> x509.Certificate:
    """Return the first certificate of a chain."""
    return x509.load_pem_x509_certificates(pem)[0]


def issuer_over(connection: socket.socket) -> object:
    """Ask for a module certificate over an open connection; returns the issuer's public key."""
    connection.sendall(
        b"POST /modules/%24edgeAgent/certificate/identity?api-version=2022-08-03 HTTP/1.1\r\n"
        b"Host: x\r\nContent-Length: 0\r\n\r\n"
    )
    response = http.client.HTTPResponse(connection)
    response.begin()
    assert response.status == 201
    chain = json.loads(response.read())["certificate"].encode()
    leaf, issuer = x509.load_pem_x509_certificates(chain)
    leaf.verify_directly_issued_by(issuer)
    return issuer.public_key()


def test_the_edge_ca_comes_from_est(stopped: House, engine: DockerEngine, tmp_path: Path) -> None:
    """From config.toml: bootstrap identity, named as configured, renewed by EST too."""
    with est_server(tmp_path) as server:
        certificate, key = server.client("bootstrap")
        (tmp_path / "bootstrap.pem").write_text(certificate)
        (tmp_path / "bootstrap.key").write_text(key)
        (tmp_path / "root.pem").write_text(server.root_pem)
        made = run(stopped, engine, CONFIG + EST.format(folder=tmp_path, url=server.url))
        chain = CertsClient(stopped.services.socket("certd")).get("aziot-edged-ca")
        assert made.subject.rfc4514_string() == "ST=Antarctica,CN=test CA"
        assert made.issuer.rfc4514_string() == "CN=EST issuing CA"
        assert len(x509.load_pem_x509_certificates(chain)) == 3
        assert server.asked[-1] == ("simpleenroll", "certificate CN=bootstrap")
        identities = list((tmp_path / "certd/state/certs").glob("estid-*"))
        assert len(identities) == 1


def test_an_edge_ca_that_is_brought_along_is_used(
    stopped: House, engine: DockerEngine, tmp_path: Path
) -> None:
    """Modules' certificates are issued by the certificate and key that config.toml names."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = load_request(ca_request(common_name("site CA"), key))
    ca = issue(request, key, now=datetime.now(UTC), lifetime=timedelta(days=30))
    (tmp_path / "ca.pem").write_bytes(to_pem([ca]))
    (tmp_path / "ca.key").write_bytes(key_pem(key))
    table = f'[edge_ca]\ncert = "file://{tmp_path}/ca.pem"\npk = "file://{tmp_path}/ca.key"\n'
    assert run(stopped, engine, CONFIG + table) == ca
    stopped.caller = engine.containers["edgeAgent"].id
    client = stopped.client("edgeAgent/workload.sock")
    answer: Any = client.post("/modules/%24edgeAgent/certificate/identity")
    leaf = x509.load_pem_x509_certificates(answer["certificate"].encode())[0]
    leaf.verify_directly_issued_by(ca)
