"""X.509 without I/O: requests, what a careful issuer makes of them, chains in PEM.

An issuer here signs with any private key object, also one whose bytes stay in keyd (`remote_key`).
Serial numbers are 159 random bits; SKI and AKI are always the issuer's own computation; what else
of a request gets into a certificate is `extensions`' to say. A certificate never outlives its
issuer and begins five minutes early, for peers whose clocks are a little behind. A CA certificate
is issued only where the caller and the issuer's path length allow it.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skerry.certs.errors import ParameterError
from skerry.certs.extensions import granted, key_usage

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

MAX_COMMON_NAME = 64
BEFORE_NOW = timedelta(minutes=5)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s?", re.DOTALL)
_NAMES = {
    "CN": NameOID.COMMON_NAME,
    "C": NameOID.COUNTRY_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
}


@dataclass(frozen=True)
class Issuer:
    """A CA certificate and the key that belongs to it."""

    certificate: x509.Certificate
    key: PrivateKey


def common_name(text: str) -> x509.Name:
    """Return a subject of one CN, cut to the 64 characters that X.520 allows."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:MAX_COMMON_NAME])])


def subject_name(parts: Mapping[str, str]) -> x509.Name:
    """Return a subject from names such as CN and O; raises ParameterError for an unknown one."""
    attributes = []
    for name, value in parts.items():
        oid = _NAMES.get(name.upper())
        if oid is None:
            known = ", ".join(_NAMES)
            raise ParameterError(f"subject field {name!r} is not known; expected one of {known}")
        if oid == NameOID.COMMON_NAME:
            value = value[:MAX_COMMON_NAME]
        try:
            attributes.append(x509.NameAttribute(oid, value))
        except ValueError as error:
            raise ParameterError(f"subject field {name} cannot be {value!r}: {error}") from error
    return x509.Name(attributes)


def ca_request(subject: x509.Name, key: PrivateKey, path_length: int = 0) -> bytes:
    """Return the request (PEM) of a CA; of path length 0 it signs end entities only."""
    return _request(
        subject,
        key,
        [
            (x509.BasicConstraints(ca=True, path_length=path_length), True),
            (key_usage(key_cert_sign=True), True),
        ],
    )


def server_request(subject: x509.Name, names: Sequence[str], key: PrivateKey) -> bytes:
    """Return the request (PEM) of a TLS server known by DNS names or IP addresses."""
    return _end_entity_request(
        subject, [general_name(name) for name in names], ExtendedKeyUsageOID.SERVER_AUTH, key
    )


def client_request(subject: x509.Name, names: Sequence[str], key: PrivateKey) -> bytes:
    """Return the request (PEM) of a TLS client; `names` become DNS names as they are."""
    alternatives = [x509.DNSName(name) for name in names]
    return _end_entity_request(subject, alternatives, ExtendedKeyUsageOID.CLIENT_AUTH, key)


def renewal_request(holder: x509.Certificate, key: PrivateKey) -> bytes:
    """Return the request (PEM) of a TLS client that keeps subject and names of a certificate."""
    try:
        found = holder.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = list(found.value)
    except x509.ExtensionNotFound:
        names = []
    return _end_entity_request(holder.subject, names, ExtendedKeyUsageOID.CLIENT_AUTH, key)


def general_name(text: str) -> x509.GeneralName:
    """Return an IP address where the text is one, else a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def load_request(pem: bytes) -> x509.CertificateSigningRequest:
    """Parse a request and prove that its key signed it; raises ParameterError."""
    try:
        request = x509.load_pem_x509_csr(pem)
        valid = request.is_signature_valid
        _ = request.extensions  # parsed at first use, where a caller expects no exception
    except Exception as error:  # the parser raises many kinds for hostile input
        raise ParameterError(f"csr is not a PKCS#10 request in PEM: {error}") from error
    if not valid:
        raise ParameterError("csr is not signed by the key that it carries")
    return request


def issue(
    request: x509.CertificateSigningRequest,
    issuer: Issuer | PrivateKey,
    *,
    now: datetime,
    lifetime: timedelta,
    subject: x509.Name | None = None,
    may_be_ca: bool = False,
) -> x509.Certificate:
    """Sign a request by a CA, or by its own key; raises ParameterError for what must not be.

    `may_be_ca` lets a CA issue another CA; a key may always sign itself as one.
    """
    name = request.subject if subject is None else subject
    not_before, not_after = now - BEFORE_NOW, now + lifetime
    if isinstance(issuer, Issuer):
        above = _checked(issuer, now)
        not_before = max(not_before, issuer.certificate.not_valid_before_utc)
        not_after = min(not_after, issuer.certificate.not_valid_after_utc)
        issuer_name, key = issuer.certificate.subject, issuer.key
        # RFC 5280 §4.2.1.9: a new key of the same CA does not count for its path length
        room = _room_below(above, self_issued=name == issuer_name)
        extensions = granted(request, may_be_ca=may_be_ca, room=room)
    else:
        issuer_name, key = name, issuer
        extensions = granted(request, may_be_ca=True, room=None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    own = x509.SubjectKeyIdentifier.from_public_key(request.public_key())
    builder = builder.add_extension(own, critical=False)
    builder = builder.add_extension(_authority(issuer, own), critical=False)
    try:
        return builder.sign(key, hashes.SHA256())
    except ValueError as error:
        raise ParameterError(f"the request cannot become a certificate: {error}") from error


def to_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return certificates one after another in PEM."""
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in certificates)


def load_chain(pem: bytes) -> list[x509.Certificate]:
    """Parse all certificates in a PEM text; raises ParameterError where there is none."""
    try:
        chain = [x509.load_pem_x509_certificate(block) for block in _PEM.findall(pem)]
        for one in chain:
            # parsed at first use, where a caller expects no exception
            _ = (one.subject, one.issuer, one.not_valid_before_utc, one.not_valid_after_utc)
    except Exception as error:  # the parser raises many kinds for hostile input
        raise ParameterError(f"not a certificate in PEM: {error}") from error
    if not chain:
        raise ParameterError("there is no certificate in PEM")
    return chain


def key_pem(key: PrivateKey) -> bytes:
    """Return a private key as PKCS#8 in PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _checked(issuer: Issuer, now: datetime) -> x509.BasicConstraints:
    """Return the constraints of an issuer that may issue now; raises ParameterError."""
    certificate = issuer.certificate
    name = certificate.subject.rfc4514_string()
    try:
        _ = (certificate.extensions, certificate.public_key())
    except Exception as error:  # the parser raises many kinds for odd certificates
        raise ParameterError(f"the certificate {name!r} cannot be read: {error}") from error
    if certificate.public_key() != issuer.key.public_key():
        raise ParameterError(f"the issuer's key does not belong to the certificate {name!r}")
    if certificate.not_valid_after_utc <= now:
        raise ParameterError(f"the issuer {name!r} expired {certificate.not_valid_after_utc:%F}")
    if certificate.not_valid_before_utc > now:
        raise ParameterError(
            f"the issuer {name!r} is not valid before {certificate.not_valid_before_utc:%F %T} "
            "UTC; is this device's clock right?"
        )
    constraints = _basic_constraints(certificate)
    if constraints is None or not constraints.ca:
        raise ParameterError(f"the certificate {name!r} is not a CA and cannot issue others")
    if not _may_sign_certificates(certificate):
        raise ParameterError(f"the key usage of the CA {name!r} does not allow it to sign others")
    return constraints


def _room_below(above: x509.BasicConstraints, *, self_issued: bool) -> int | None:
    """Return the greatest path length of a CA below, -1 where there can be none."""
    if above.path_length is None or self_issued:
        return above.path_length
    return above.path_length - 1


def _may_sign_certificates(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.key_cert_sign


def _basic_constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def _authority(
    issuer: Issuer | PrivateKey, own: x509.SubjectKeyIdentifier
) -> x509.AuthorityKeyIdentifier:
    if not isinstance(issuer, Issuer):
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    try:
        found = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key())  # type: ignore[arg-type]  # a CA of ours is EC or RSA
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def _end_entity_request(
    subject: x509.Name,
    alternatives: Sequence[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    key: PrivateKey,
) -> bytes:
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        # TLS 1.2 clients without forward secrecy encrypt to an RSA key
        (key_usage(key_encipherment=isinstance(key, rsa.RSAPrivateKey)), True),
        (x509.ExtendedKeyUsage([purpose]), False),
    ]
    if alternatives:
        extensions.append((x509.SubjectAlternativeName(alternatives), False))
    return _request(subject, key, extensions)


def _request(
    subject: x509.Name, key: PrivateKey, extensions: Sequence[tuple[x509.ExtensionType, bool]]
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
