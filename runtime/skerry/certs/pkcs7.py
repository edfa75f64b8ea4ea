"""PKCS#7 "certs-only" messages, as EST answers with (RFC 7030 §4.1.3, RFC 8951 §3.1).

Pure: the body of an answer in, certificates out. What a server sends is bounded in size and number
before it is parsed, and every way of being wrong is one error.
"""

import base64
import binascii
import re
import warnings

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs7

from skerry.certs.errors import EstError

MEDIA_TYPE = "application/pkcs7-mime"
MAX_BYTES = 256 * 1024
MAX_CERTIFICATES = 32
_SPACE = re.compile(rb"[ \t\r\n]+")


def certificates(content_type: str, body: bytes) -> list[x509.Certificate]:
    """Return the certificates of an answer, one at least; raises EstError.

    The content-transfer-encoding is base64 whatever its header says (RFC 8951 §3.1).
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind != MEDIA_TYPE:
        raise EstError(f"content-type {kind!r}, expected {MEDIA_TYPE!r}")
    if len(body) > MAX_BYTES:
        raise EstError(f"{len(body)} bytes, expected at most {MAX_BYTES}")
    try:
        der = base64.b64decode(_SPACE.sub(b"", body), validate=True)
    except (binascii.Error, ValueError) as error:
        raise EstError("a body that is not base64") from error
    try:
        with warnings.catch_warnings():
            # some servers send BER, which is read as well, with a warning for the developer
            warnings.simplefilter("ignore", UserWarning)
            found = pkcs7.load_der_pkcs7_certificates(der)
        for certificate in found:
            # parsed at first use, where a caller expects no exception
            certificate.public_key()
            _ = (certificate.subject, certificate.issuer, certificate.extensions)
            _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    except Exception as error:  # the parser raises many kinds for hostile input
        raise EstError(f"a body that is no PKCS#7 of certificates: {error}") from error
    if not 0 < len(found) <= MAX_CERTIFICATES:
        raise EstError(f"{len(found)} certificates, expected 1 to {MAX_CERTIFICATES}")
    return found


def chain(leaf: x509.Certificate, others: list[x509.Certificate]) -> list[x509.Certificate]:
    """Return the leaf, each one's issuer after it as far as there is one, then the rest."""
    left = [other for other in dict.fromkeys(others) if other != leaf]
    ordered = [leaf]
    while (issuer := _issuer(ordered[-1], left)) is not None:
        ordered.append(issuer)
        left.remove(issuer)
    return ordered + left


def _issuer(
    certificate: x509.Certificate, among: list[x509.Certificate]
) -> x509.Certificate | None:
    if certificate.issuer == certificate.subject:
        return None
    for candidate in among:
        if candidate.subject == certificate.issuer and _signed_by(certificate, candidate):
            return candidate
    return None


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True
