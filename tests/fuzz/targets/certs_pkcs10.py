"""Certificate requests: what is issued for one is never more than its issuer allows."""

import base64
from datetime import UTC, datetime, timedelta

from cryptography import x509 as x
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from skerry.certs import x509
from skerry.certs.errors import CertsError

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_KEY = ec.derive_private_key(4711, ec.SECP256R1())
_REQUESTS = (
    x509.ca_request(x509.common_name("ca"), _KEY),
    x509.server_request(x509.common_name("hub"), ["hub", "192.0.2.7", "2001:db8::1"], _KEY),
    x509.client_request(x509.common_name("m"), ["URI: azureiot://h/devices/d"], _KEY),
)
_ROOT = x509.issue(
    x509.load_request(_REQUESTS[0]), _KEY, now=_NOW, lifetime=timedelta(days=9), subject=None
)

ALLOWED = (CertsError,)
SEEDS = tuple(x.load_pem_x509_csr(pem).public_bytes(Encoding.DER) for pem in _REQUESTS)


def one(data: bytes) -> None:
    """Load a request, as PEM and in PEM, and issue a certificate for it."""
    wrapped = base64.encodebytes(data)
    for pem in (
        data,
        b"-----BEGIN CERTIFICATE REQUEST-----\n%b-----END CERTIFICATE REQUEST-----\n" % wrapped,
    ):
        try:
            request = x509.load_request(pem)
        except CertsError:
            continue
        issuer = x509.Issuer(_ROOT, _KEY)
        made = x509.issue(request, issuer, now=_NOW, lifetime=timedelta(days=30))
        constraints = made.extensions.get_extension_for_class(x.BasicConstraints).value
        if constraints.ca or made.not_valid_after_utc > _ROOT.not_valid_after_utc:
            raise AssertionError(f"more was issued than the issuer allows: {made!r}")
