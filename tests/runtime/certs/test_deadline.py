"""certd as a process: it tells its next renewal, leaves it on disk, and renews when it is woken."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from harness.clock import MovableClock
from harness.edged import until
from harness.services import Services
from skerry.base.client import ServiceClient
from skerry.certs import x509
from skerry.certs.client import CertsClient

CERTD = f"""
[cert_issuance]
aziot-edged-ca = {{ method = "local_ca" }}
local_ca = {{ cert = "local-ca", pk = "local-ca" }}
local-ca = {{ method = "self_signed", expiry_days = 100 }}
[[principal]]
uid = {os.getuid()}
certs = ["*"]
"""


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """A keyd, and the settings of a certd with a local CA."""
    running = Services(tmp_path)
    running.configure("keyd", f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n')
    running.configure("certd", CERTD)
    running.host("keyd")
    yield running
    running.stop()


def local_ca(services: Services) -> datetime:
    """Return when the local CA ends."""
    pem = CertsClient(services.socket("certd")).get("local-ca")
    return x509.load_chain(pem)[0].not_valid_after_utc


def test_a_certd_that_exits_leaves_its_deadline(services: Services) -> None:
    """The answer before and the file after are the same: four fifths of the CA's life."""
    process = services.start("certd", "--idle-exit=1")
    asked = ServiceClient(services.socket("certd"), "2020-09-01")
    assert asked.get("/deadline") == {"at": None, "reason": None}
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.ca_request(x509.common_name("edge"), key)
    CertsClient(services.socket("certd")).create("aziot-edged-ca", csr)
    ends = local_ca(services)

    def told() -> str | None:
        answer = asked.get("/deadline")
        assert isinstance(answer, dict)
        at: str | None = answer["at"]
        return at

    until(told, "the deadline of the CA that was made on the way")
    at = told()
    assert at is not None
    due = datetime.fromisoformat(at)
    assert abs(ends - timedelta(days=20) - due) < timedelta(minutes=2)
    assert process.wait(20) == 0
    stored = json.loads((services.folder / "certd/state/deadline.json").read_text())
    assert stored == {"at": at, "reason": "renew certificate local-ca", "failed": {}}


def test_a_certd_that_is_woken_renews_what_is_due(services: Services) -> None:
    """Its state is from a time when the CA was made 90 days ago."""
    past = Services(services.folder, MovableClock(datetime.now(UTC) - timedelta(days=90)))
    past.host("certd")
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.ca_request(x509.common_name("edge"), key)
    CertsClient(services.socket("certd")).create("aziot-edged-ca", csr)
    old = local_ca(services)
    past.stop()
    services.start("certd")
    ServiceClient(services.socket("certd"), "2020-09-01").get("/deadline")
    until(lambda: local_ca(services) > old, "the CA is renewed")
