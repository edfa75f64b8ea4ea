"""Answers of EST servers: PKCS#7 of certificates in base64, and Retry-After."""

import base64
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from skerry.certs import pkcs7 as answers
from skerry.certs import x509
from skerry.certs.errors import EstError
from skerry.certs.est import retry_after

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_KEYS = [ec.derive_private_key(number, ec.SECP256R1()) for number in (4711, 4712)]
_ROOT = x509.issue(
    x509.load_request(x509.ca_request(x509.common_name("root"), _KEYS[0])),
    _KEYS[0],
    now=_NOW,
    lifetime=timedelta(days=9),
)
_LEAF = x509.issue(
    x509.load_request(x509.client_request(x509.common_name("m"), ["m"], _KEYS[1])),
    x509.Issuer(_ROOT, _KEYS[0]),
    now=_NOW,
    lifetime=timedelta(days=9),
)

ALLOWED = (EstError,)
SEEDS = (
    pkcs7.serialize_certificates([_LEAF], Encoding.DER),
    pkcs7.serialize_certificates([_ROOT, _LEAF], Encoding.DER),
    b"Wed, 21 Oct 2026 07:28:00 GMT",
    b"120",
)


def one(data: bytes) -> None:
    """Read an answer as it is and in base64; the chain begins with the leaf."""
    if not timedelta() <= retry_after(data.decode("latin-1"), _NOW) <= timedelta(days=7):
        raise AssertionError("a pause without bounds")
    for body in (data, base64.b64encode(data)):
        try:
            found = answers.certificates("application/pkcs7-mime; smime-type=certs-only", body)
        except EstError:
            continue
        chain = answers.chain(found[0], found)
        if chain[0] != found[0] or set(chain) != set(found):
            raise AssertionError("the chain is not made of what was sent")
