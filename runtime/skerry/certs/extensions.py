"""Which extensions of a request a careful issuer puts into a certificate.

A request is a wish. Of it are taken: basic constraints, key usage, extended key usage and
alternative names, each within these bounds:

- CA: only where the issuer's policy allows a CA; its path length never exceeds the room that the
  issuer has, and is 0 where the request names none. Whoever is no CA is told so (CA:FALSE).
- key usage: signing certificates and revocation lists is for CAs, and a CA always has the former.
- extended key usage: TLS server and TLS client. Others (OCSP signing, time stamping, any) would
  make the holder speak for the CA.
- alternative names: DNS names, IP addresses and URIs.

What exceeds them is refused, so that the caller learns of it. Other extensions are left out, and
refused when they are critical. SKI and AKI are the issuer's own business.
"""

from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from skerry.certs.errors import ParameterError

Extension = tuple[x509.ExtensionType, bool]
"""An extension and whether it is critical."""

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
_PURPOSES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
_NAMES = (x509.DNSName, x509.IPAddress, x509.UniformResourceIdentifier)
_TAKEN = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.SubjectKeyIdentifier,
    x509.AuthorityKeyIdentifier,
)


def granted(
    request: x509.CertificateSigningRequest, *, may_be_ca: bool, room: int | None
) -> list[Extension]:
    """Return the extensions of the certificate; raises ParameterError.

    `room` is the greatest path length that a CA below the issuer may have: None for any, -1 where
    the issuer may have no CA below.
    """
    for extension in request.extensions:
        if extension.critical and not isinstance(extension.value, _TAKEN):
            raise ParameterError(
                f"the request has the critical extension {extension.oid.dotted_string}, "
                "which is not issued here"
            )
    constraints = _constraints(request, may_be_ca, room)
    found: list[Extension] = [(constraints, True), (_usage(request, ca=constraints.ca), True)]
    purposes = _of(request, x509.ExtendedKeyUsage)
    if purposes is not None:
        found.append((_checked_purposes(purposes), False))
    names = _of(request, x509.SubjectAlternativeName)
    if names is not None:
        # RFC 5280 §4.2.1.6: critical where nothing else says who it is
        found.append((_checked_names(names), not list(request.subject)))
    return found


def _constraints(
    request: x509.CertificateSigningRequest, may_be_ca: bool, room: int | None
) -> x509.BasicConstraints:
    wanted = _of(request, x509.BasicConstraints)
    if wanted is None or not wanted.ca:
        return x509.BasicConstraints(ca=False, path_length=None)
    if room is not None and room < 0:
        raise ParameterError("the issuer has path length 0 and cannot issue another CA")
    if not may_be_ca:
        raise ParameterError("the request asks for a CA, and this certificate may not be one")
    length = wanted.path_length or 0
    return x509.BasicConstraints(ca=True, path_length=length if room is None else min(length, room))


def _usage(request: x509.CertificateSigningRequest, *, ca: bool) -> x509.KeyUsage:
    wanted = _of(request, x509.KeyUsage)
    if wanted is None:
        rsa_key = isinstance(request.public_key(), rsa.RSAPublicKey)
        return key_usage(key_cert_sign=ca, key_encipherment=rsa_key and not ca)
    if not ca and (wanted.key_cert_sign or wanted.crl_sign):
        raise ParameterError("the request asks to sign certificates without being a CA")
    return x509.KeyUsage(
        digital_signature=wanted.digital_signature,
        key_cert_sign=ca,
        content_commitment=wanted.content_commitment,
        key_encipherment=wanted.key_encipherment,
        data_encipherment=wanted.data_encipherment,
        key_agreement=wanted.key_agreement,
        crl_sign=wanted.crl_sign,
        encipher_only=wanted.key_agreement and wanted.encipher_only,
        decipher_only=wanted.key_agreement and wanted.decipher_only,
    )


def key_usage(*, key_cert_sign: bool = False, key_encipherment: bool = False) -> x509.KeyUsage:
    """Return the usage of a key that signs, and what is asked for besides."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _checked_purposes(purposes: x509.ExtendedKeyUsage) -> x509.ExtendedKeyUsage:
    foreign = [purpose for purpose in purposes if purpose not in _PURPOSES]
    if foreign:
        raise ParameterError(
            f"the request asks for the purpose {foreign[0].dotted_string}; "
            "only TLS servers and clients are issued here"
        )
    return purposes


def _checked_names(names: x509.SubjectAlternativeName) -> x509.SubjectAlternativeName:
    foreign = [name for name in names if not isinstance(name, _NAMES)]
    if foreign:
        raise ParameterError(
            f"the request has an alternative name of the kind {type(foreign[0]).__name__}; "
            "expected DNS names, IP addresses and URIs"
        )
    return names


def _of(request: x509.CertificateSigningRequest, kind: type[_Kind]) -> _Kind | None:
    try:
        return request.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
