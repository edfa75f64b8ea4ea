"""Certificates and keys that come as files: they are what they say, and belong together.

A pair that does not fit would be found out by a service, after the former configuration has gone.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from skerry.config.problems import Finding, KeyPath
from skerry.config.references import value_at
from skerry.config.rules import ISSUED_CERTS

_FILE = "file://"
_IDENTITY = ("identity_cert", "identity_pk")
_BOOTSTRAP = ("bootstrap_identity_cert", "bootstrap_identity_pk")
_EST: tuple[KeyPath, ...] = (("cert_issuance", "est", "auth"), *ISSUED_CERTS)
PAIRS: tuple[tuple[KeyPath, str, str], ...] = (
    (("provisioning", "authentication"), *_IDENTITY),
    (("provisioning", "attestation"), *_IDENTITY),
    (("edge_ca",), "cert", "pk"),
    (("cert_issuance", "local_ca"), "cert", "pk"),
    *((path, *names) for path in _EST for names in (_IDENTITY, _BOOTSTRAP)),
)
"""Table, key of the certificate's URI, key of the private key's."""


def check_pairs(tables: Mapping[str, Any], read: Callable[[str], bytes]) -> Iterator[Finding]:
    """Yield what is wrong with the files; one that cannot be read is somebody else's to report."""
    for table, cert, key in PAIRS:
        names = [_file(value_at(tables, (*table, name))) for name in (cert, key)]
        if names[0] is None or names[1] is None:
            continue
        try:
            data = [read(name) for name in names if name is not None]
        except OSError:
            continue
        finding = _wrong((*table, cert), (*table, key), names[0], names[1], *data)
        if finding is not None:
            yield finding


def _file(value: object) -> str | None:
    if isinstance(value, str) and value.startswith(_FILE):
        return unquote(value.removeprefix(_FILE))
    return None


def _wrong(
    cert_path: KeyPath, key_path: KeyPath, cert: str, key: str, cert_data: bytes, key_data: bytes
) -> Finding | None:
    # apply alone needs them; `check` and the services' own start stay light
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificates(cert_data)[0]
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        message = f"file {cert!r} holds no certificate, or a damaged one"
        return Finding(cert_path, message, "certificates in PEM, the device's own first")
    try:
        private = load_pem_private_key(key_data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = f"file {key!r} holds no private key, a damaged or an encrypted one"
        return Finding(key_path, message, "a private key in PEM, without a password")
    if private.public_key() != public:
        message = f"the key in {key!r} does not belong to the certificate in {cert!r}"
        return Finding(key_path, message, "the key of that certificate")
    return None
