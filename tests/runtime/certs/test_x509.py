"""What a careful issuer signs, and what it refuses."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509 as x
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skerry.certs import x509
from skerry.certs.errors import ParameterError

NOW = datetime(2026, 6, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a fresh key."""
    return ec.generate_private_key(ec.SECP256R1())


def new_ca(now: datetime = NOW, lifetime: timedelta = YEAR) -> x509.Issuer:
    """Return a self-signed CA of path length 0."""
    key = new_key()
    request = x509.load_request(x509.ca_request(x509.common_name("edge CA"), key))
    return x509.Issuer(x509.issue(request, key, now=now, lifetime=lifetime), key)


def test_a_module_certificate_verifies_under_its_ca(tmp_path: Path) -> None:
    """openssl accepts the chain for a TLS server by its DNS name and its address."""
    ca = new_ca()
    csr = x509.server_request(x509.common_name("hub"), ["hub", "192.0.2.7"], new_key())
    leaf = x509.issue(x509.load_request(csr), ca, now=NOW, lifetime=timedelta(days=30))
    (tmp_path / "ca.pem").write_bytes(x509.to_pem([ca.certificate]))
    (tmp_path / "leaf.pem").write_bytes(x509.to_pem([leaf]))
    for check in (["-verify_hostname", "hub"], ["-verify_ip", "192.0.2.7"]):
        subprocess.run(
            [
                "openssl",
                "verify",
                "-x509_strict",
                "-purpose",
                "sslserver",
                *check,
                "-attime",
                str(int(NOW.timestamp()) + 60),
                "-CAfile",
                str(tmp_path / "ca.pem"),
                str(tmp_path / "leaf.pem"),
            ],
            check=True,
            capture_output=True,
            timeout=20,
        )


def test_issued_fields_are_the_issuers() -> None:
    """Serial, SKI and AKI are set, the issuer's name is the CA's subject."""
    ca = new_ca()
    csr = x509.client_request(x509.common_name("m"), ["URI: azureiot://h/devices/d"], new_key())
    leaf = x509.issue(x509.load_request(csr), ca, now=NOW, lifetime=YEAR)
    ski = ca.certificate.extensions.get_extension_for_class(x.SubjectKeyIdentifier).value
    aki = leaf.extensions.get_extension_for_class(x.AuthorityKeyIdentifier).value
    assert aki.key_identifier == ski.digest
    assert leaf.issuer == ca.certificate.subject
    assert leaf.serial_number.bit_length() > 64
    assert leaf.not_valid_before_utc == NOW - x509.BEFORE_NOW


def test_a_certificate_never_outlives_its_issuer() -> None:
    """The end is the earlier of the two."""
    ca = new_ca(lifetime=timedelta(days=10))
    csr = x509.client_request(x509.common_name("m"), ["m"], new_key())
    leaf = x509.issue(x509.load_request(csr), ca, now=NOW, lifetime=YEAR)
    assert leaf.not_valid_after_utc == ca.certificate.not_valid_after_utc


def test_what_must_not_be_issued_is_refused() -> None:
    """No CA under path length 0, nothing by an end entity, an expired CA or another's key."""
    ca = new_ca()
    leaf_key = new_key()
    csr = x509.load_request(x509.client_request(x509.common_name("m"), ["m"], leaf_key))
    leaf = x509.issue(csr, ca, now=NOW, lifetime=YEAR)
    sub_ca = x509.load_request(x509.ca_request(x509.common_name("sub"), new_key()))
    for request, issuer, now, message in (
        (sub_ca, ca, NOW, "path length 0"),
        (csr, x509.Issuer(leaf, leaf_key), NOW, "is not a CA"),
        (csr, ca, NOW + 2 * YEAR, "expired 2027-06-01"),
        (csr, x509.Issuer(ca.certificate, new_key()), NOW, "does not belong to"),
    ):
        with pytest.raises(ParameterError, match=message):
            x509.issue(request, issuer, now=now, lifetime=YEAR)


def test_a_ca_without_constraints_is_no_ca() -> None:
    """A certificate that does not say that it is a CA is not taken for one."""
    key = new_key()
    plain = (
        x.CertificateBuilder()
        .subject_name(x509.common_name("old"))
        .issuer_name(x509.common_name("old"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + YEAR)
        .sign(key, hashes.SHA256())
    )
    csr = x509.load_request(x509.client_request(x509.common_name("m"), ["m"], new_key()))
    with pytest.raises(ParameterError, match="is not a CA"):
        x509.issue(csr, x509.Issuer(plain, key), now=NOW, lifetime=YEAR)


def test_a_ca_without_ski_is_still_named_by_its_key() -> None:
    """The AKI is then computed from the issuer's public key."""
    key = new_key()
    ca = (
        x.CertificateBuilder()
        .subject_name(x509.common_name("no ski"))
        .issuer_name(x509.common_name("no ski"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + YEAR)
        .add_extension(x.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    csr = x509.load_request(x509.client_request(x509.common_name("m"), ["m"], new_key()))
    leaf = x509.issue(csr, x509.Issuer(ca, key), now=NOW, lifetime=YEAR)
    aki = leaf.extensions.get_extension_for_class(x.AuthorityKeyIdentifier).value
    assert aki == x.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


@pytest.mark.parametrize(
    "pem", [b"", b"nonsense", b"-----BEGIN CERTIFICATE REQUEST-----\nMII\n-----END"]
)
def test_what_is_no_request_is_refused(pem: bytes) -> None:
    """Hostile input is a parameter error, never a crash."""
    with pytest.raises(ParameterError, match="csr is not a PKCS#10 request"):
        x509.load_request(pem)


def test_a_request_signed_by_another_key_is_refused() -> None:
    """The signature must be that of the key in the request."""
    csr = x509.client_request(x509.common_name("m"), ["m"], new_key())
    der = bytearray(x.load_pem_x509_csr(csr).public_bytes(serialization.Encoding.DER))
    at = der.index(b"\x0c\x01m") + 2
    der[at] = ord("n")
    forged = x.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(ParameterError, match="not signed by the key"):
        x509.load_request(forged)


def test_subjects_are_built_from_names() -> None:
    """Known fields in any case; a long CN is cut to 64 characters."""
    name = x509.subject_name({"cn": "x" * 70, "L": "Oslo"})
    assert name.rfc4514_string() == f"L=Oslo,CN={'x' * 64}"


@pytest.mark.parametrize(
    ("parts", "message"),
    [({"XX": "y"}, "subject field 'XX' is not known"), ({"C": "Norway"}, "subject field C cannot")],
)
def test_wrong_subject_fields_are_named(parts: dict[str, str], message: str) -> None:
    """An unknown field and an impossible value are refused."""
    with pytest.raises(ParameterError, match=message):
        x509.subject_name(parts)


def test_chains_are_parsed_in_order() -> None:
    """Every certificate in a PEM text is found; a text without one is refused."""
    first, second = new_ca().certificate, new_ca().certificate
    assert x509.load_chain(b"comment\n" + x509.to_pem([first, second])) == [first, second]
    with pytest.raises(ParameterError, match="there is no certificate"):
        x509.load_chain(b"nothing")
    with pytest.raises(ParameterError, match="not a certificate"):
        x509.load_chain(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")


def test_a_request_with_a_broken_extension_is_refused() -> None:
    """An extension that cannot be parsed is a parameter error too."""
    key = ec.generate_private_key(ec.SECP256R1())
    broken = x.UnrecognizedExtension(x.BasicConstraints.oid, b"\xff")
    request = (
        x.CertificateSigningRequestBuilder()
        .subject_name(x509.common_name("x"))
        .add_extension(broken, critical=True)
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(ParameterError, match="csr is not a PKCS#10 request"):
        x509.load_request(request.public_bytes(serialization.Encoding.PEM))
