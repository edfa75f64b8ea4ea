"""Whether a client's certificate counts: by its thumbprint, or by who signed it.

The chain is walked by ourselves, as `ssl` can do it only against authorities loaded beforehand
(see `skerry.heads.tls`). An anchor is a certificate that somebody enrolled; it may be an
intermediate one.
"""

import warnings
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.utils import CryptographyDeprecationWarning

from skerry.heads.errors import HeadError

_MAX_DEPTH = 8
_ODD = (
    CryptographyDeprecationWarning,
    ValueError,
    TypeError,
    x509.InvalidVersion,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for certificates that are odd or simply not each other's."""


class CertificateError(HeadError):
    """A certificate that does not prove what it should; the message says why."""


def read_chain(chain: Sequence[bytes]) -> list[x509.Certificate]:
    """Parse a DER chain, leaf first. Raises: CertificateError."""
    try:
        with warnings.catch_warnings():
            # A serial number that is none is a warning to cryptography, a refusal to us.
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            certificates = [x509.load_der_x509_certificate(part) for part in chain[:_MAX_DEPTH]]
        for certificate in certificates:
            # cryptography looks at these only when asked; later nobody expects it to raise.
            _ = (
                certificate.subject,
                certificate.issuer,
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
            )
    except _ODD as error:
        raise CertificateError(f"the client's certificate cannot be read: {error}") from error
    return certificates


def read_pem(pem: str) -> x509.Certificate:
    """Parse the first certificate of a PEM text. Raises: CertificateError."""
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise CertificateError(
            "the text is not a certificate, expected PEM (-----BEGIN CERTIFICATE-----)"
        ) from None


def thumbprints(certificate: x509.Certificate) -> tuple[str, str]:
    """Return SHA-256 and SHA-1 of a certificate in upper-case hex, as IoT Hub writes them."""
    return (
        certificate.fingerprint(hashes.SHA256()).hex().upper(),
        certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - a name, no signature
    )


def check_time(certificate: x509.Certificate, now: datetime) -> None:
    """Refuse a certificate outside its time. Raises: CertificateError."""
    if now < certificate.not_valid_before_utc:
        raise CertificateError(
            f"the certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        )
    if now > certificate.not_valid_after_utc:
        raise CertificateError(
            f"the certificate expired {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        )


def find_anchor(
    chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], now: datetime
) -> x509.Certificate | None:
    """Return the anchor that the leaf leads to, None when it leads to none.

    Every certificate from the leaf to the anchor is valid now, and every issuer may sign.
    """
    path = _path(chain, anchors, now)
    return path[-1] if path else None


def proven_until(
    chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], now: datetime
) -> datetime | None:
    """Return when the first certificate from the leaf to its anchor ends, None without anchor."""
    path = _path(chain, anchors, now)
    return min(one.not_valid_after_utc for one in path) if path else None


def _path(
    chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], now: datetime
) -> list[x509.Certificate]:
    current, issuers = chain[0], list(chain[1:])
    path: list[x509.Certificate] = []
    for depth in range(_MAX_DEPTH):
        if not _is_in_time(current, now):
            return []
        path.append(current)
        for anchor in anchors:
            if _signs(anchor, current, depth) and _is_in_time(anchor, now):
                return [*path, anchor]
        following = next((c for c in issuers if _signs(c, current, depth)), None)
        if following is None:
            return []
        issuers.remove(following)
        current = following
    return []


def _is_in_time(certificate: x509.Certificate, now: datetime) -> bool:
    try:
        check_time(certificate, now)
    except CertificateError:
        return False
    return True


def _signs(issuer: x509.Certificate, subject: x509.Certificate, depth: int) -> bool:
    """Tell whether `issuer` signed `subject`, which has `depth` authorities below it."""
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        subject.verify_directly_issued_by(issuer)
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        if error.oid != x509.KeyUsage.oid:
            return False
        usage = None
    except _ODD:
        return False
    may_sign = usage is None or usage.key_cert_sign
    deep_enough = constraints.path_length is None or constraints.path_length >= depth
    return constraints.ca and may_sign and deep_enough
