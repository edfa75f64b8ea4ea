"""Who may write which certificate of certd, by kernel uid."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from harness.services import Hosted, Services
from skerry.certs import x509

OWNER, STRANGER = 2001, 2002
CERTD = f'[[principal]]\nuid = {OWNER}\ncerts = ["own/*"]\n'


def some_pem() -> str:
    """Return a certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.load_request(x509.ca_request(x509.common_name("x"), key))
    made = x509.issue(request, key, now=datetime.now(UTC), lifetime=timedelta(days=1))
    return x509.to_pem([made]).decode()


@pytest.fixture(scope="module")
def certd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A certd with one principal."""
    running = Services(tmp_path_factory.mktemp("rights"))
    running.configure("certd", CERTD)
    yield running.host("certd")
    running.stop()


def test_everybody_reads_and_the_owner_writes(certd: Hosted) -> None:
    """A stranger's write is 401 and changes nothing; reading is free."""
    pem = some_pem()
    line = "PUT /certificates/own%2Fone"
    assert certd.call(OWNER, line, {"pem": pem}) == (201, {"pem": pem})
    assert certd.call(STRANGER, line, {"pem": some_pem()}) == (401, "unauthorized")
    assert certd.call(STRANGER, "DELETE /certificates/own%2Fone") == (401, "unauthorized")
    assert certd.call(STRANGER, "GET /certificates/own%2Fone") == (200, {"pem": pem})
    assert certd.call(OWNER, "DELETE /certificates/own%2Fone") == (204, None)
    missing = (400, "there is no certificate 'own/one'")
    assert certd.call(STRANGER, "GET /certificates/own%2Fone") == missing


def test_a_stranger_has_nothing_issued(certd: Hosted) -> None:
    """The right to the id comes before everything else of the request."""
    body = {"certId": "own/two", "csr": ""}
    assert certd.call(STRANGER, "POST /certificates", body) == (401, "unauthorized")
    status, told = certd.call(OWNER, "POST /certificates", body)
    assert (status, str(told)[:37]) == (400, "there is no cert_issuance for 'own/tw")
