"""The edge CA over the life of a device: made, kept, made anew when due, or brought along."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fakes.docker_engine import DockerEngine
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
