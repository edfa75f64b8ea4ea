"""What a request cannot smuggle into a certificate."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509 as x
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from skerry.certs import x509
from skerry.certs.errors import ParameterError
from skerry.certs.extensions import key_usage

NOW = datetime(2026, 6, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
KEY = ec.generate_private_key(ec.SECP256R1())
CA_KEY = ec.generate_private_key(ec.SECP256R1())


def ca(path_length: int | None) -> x509.Issuer:
    """Return a root of a path length."""
    name = x509.common_name("root")
    made = (
        x.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(CA_KEY.public_key())
        .serial_number(x.random_serial_number())
        .not_valid_before(NOW - YEAR)
        .not_valid_after(NOW + 10 * YEAR)
        .add_extension(x.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .sign(CA_KEY, hashes.SHA256())
    )
    return x509.Issuer(made, CA_KEY)


def request(
    *extensions: tuple[x.ExtensionType, bool],
    key: x509.PrivateKey = KEY,
    name: str | None = "asker",
) -> x.CertificateSigningRequest:
    """Return a request with extensions."""
    subject = x.Name([]) if name is None else x509.common_name(name)
    builder = x.CertificateSigningRequestBuilder().subject_name(subject)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(key, hashes.SHA256())


def issued(
    *extensions: tuple[x.ExtensionType, bool],
    below: int | None = 5,
    may_be_ca: bool = False,
    key: x509.PrivateKey = KEY,
    name: str | None = "asker",
) -> x.Certificate:
    """Return what a root makes of a request with extensions."""
    asked = request(*extensions, key=key, name=name)
    return x509.issue(asked, ca(below), now=NOW, lifetime=YEAR, may_be_ca=may_be_ca)


def usage(**flags: bool) -> x.KeyUsage:
    """Return a key usage with the flags named, all others off."""
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x.KeyUsage(**{name: flags.get(name, False) for name in names})


def constraints(certificate: x.Certificate) -> tuple[bool, bool, int | None]:
    """Return critical, CA and path length."""
    found = certificate.extensions.get_extension_for_class(x.BasicConstraints)
    return found.critical, found.value.ca, found.value.path_length


AS_CA = (x.BasicConstraints(ca=True, path_length=None), True)
FOREIGN = x.ObjectIdentifier("1.3.6.1.4.1.311.20.2")
SMUGGLED = [
    pytest.param([AS_CA], "asks for a CA, and this certificate may not be one", id="a CA"),
    pytest.param(
        [(usage(key_cert_sign=True), True)], "asks to sign certificates without", id="signing"
    ),
    pytest.param([(usage(crl_sign=True), False)], "asks to sign certificates", id="revoking"),
    pytest.param(
        [(x.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)],
        r"asks for the purpose 1\.3\.6\.1\.5\.5\.7\.3\.9",
        id="OCSP",
    ),
    pytest.param(
        [(x.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)],
        r"asks for the purpose 2\.5\.29\.37\.0",
        id="any purpose",
    ),
    pytest.param(
        [(x.SubjectAlternativeName([x.RFC822Name("root@example.org")]), False)],
        "an alternative name of the kind RFC822Name",
        id="mail",
    ),
    pytest.param(
        [(x.SubjectAlternativeName([x.DirectoryName(x509.common_name("boss"))]), False)],
        "of the kind DirectoryName",
        id="directory name",
    ),
    pytest.param(
        [(x.UnrecognizedExtension(FOREIGN, b"\x05\x00"), True)],
        r"critical extension 1\.3\.6\.1\.4\.1\.311\.20\.2, which is not issued here",
        id="critical and unknown",
    ),
    pytest.param(
        [(x.NameConstraints([x.DNSName("a")], None), True)],
        r"critical extension 2\.5\.29\.30",
        id="name constraints",
    ),
]


@pytest.mark.parametrize(("extensions", "message"), SMUGGLED)
def test_what_exceeds_the_bounds_is_refused(
    extensions: list[tuple[x.ExtensionType, bool]], message: str
) -> None:
    """The caller learns what it was."""
    with pytest.raises(ParameterError, match=message):
        issued(*extensions)


def test_other_extensions_are_left_out() -> None:
    """Of unknown ones that are not critical nothing remains; SKI and AKI are the issuer's."""
    foreign = (x.UnrecognizedExtension(FOREIGN, b"\x05\x00"), False)
    false_ski = (x.SubjectKeyIdentifier(b"x" * 20), False)
    made = issued(foreign, false_ski, (x.OCSPNoCheck(), False))
    kinds = {type(extension.value) for extension in made.extensions}
    assert kinds == {
        x.BasicConstraints,
        x.KeyUsage,
        x.SubjectKeyIdentifier,
        x.AuthorityKeyIdentifier,
    }
    ski = made.extensions.get_extension_for_class(x.SubjectKeyIdentifier).value
    assert ski == x.SubjectKeyIdentifier.from_public_key(KEY.public_key())


def test_a_bare_request_becomes_an_end_entity() -> None:
    """CA:FALSE, critical; a usage that fits the key."""
    assert constraints(issued()) == (True, False, None)
    key = rsa.generate_private_key(65537, 2048)
    for made, rsa_key in ((issued(), False), (issued(key=key), True)):
        found = made.extensions.get_extension_for_class(x.KeyUsage)
        assert found.critical
        assert found.value == key_usage(key_encipherment=rsa_key)


@pytest.mark.parametrize(
    ("below", "asked", "path_length"),
    [(None, None, 0), (None, 3, 3), (5, 9, 4), (5, 2, 2), (1, None, 0), (1, 7, 0)],
)
def test_a_ca_gets_no_more_room_than_its_issuer_has(
    below: int | None, asked: int | None, path_length: int
) -> None:
    """One level less, and none where the request names none."""
    wanted = (x.BasicConstraints(ca=True, path_length=asked), True)
    assert constraints(issued(wanted, below=below, may_be_ca=True)) == (True, True, path_length)


def test_there_is_no_ca_below_path_length_0() -> None:
    """Except a new key of the very same CA, which is not below it (RFC 5280 §4.2.1.9)."""
    with pytest.raises(ParameterError, match="path length 0"):
        issued(AS_CA, below=0, may_be_ca=True)
    assert constraints(issued(AS_CA, below=0, may_be_ca=True, name="root")) == (True, True, 0)
    with pytest.raises(ParameterError, match="may not be one"):
        issued(AS_CA, below=0, name="root")


def test_a_ca_may_always_sign_certificates() -> None:
    """Whatever usage it asked for."""
    for extensions in ([AS_CA], [AS_CA, (usage(digital_signature=True), True)]):
        made = issued(*extensions, may_be_ca=True)
        assert made.extensions.get_extension_for_class(x.KeyUsage).value.key_cert_sign


def test_the_alternative_name_is_critical_where_it_is_the_only_one() -> None:
    """RFC 5280 §4.2.1.6."""
    names = (x.SubjectAlternativeName([x.DNSName("a")]), False)
    for name, critical in (("asker", False), (None, True)):
        made = issued(names, name=name)
        found = made.extensions.get_extension_for_class(x.SubjectAlternativeName)
        assert found.critical is critical


def test_an_issuer_from_the_future_asks_about_the_clock() -> None:
    """It is not valid yet, so nothing is issued under it."""
    with pytest.raises(ParameterError, match=r"is not valid before .* is this device's clock"):
        x509.issue(request(), ca(0), now=NOW - 2 * YEAR, lifetime=YEAR)


def test_a_certificate_begins_a_little_early_and_never_before_its_issuer() -> None:
    """Five minutes, for peers whose clocks are behind."""
    assert issued().not_valid_before_utc == NOW - x509.BEFORE_NOW
    begin = ca(0).certificate.not_valid_before_utc
    made = x509.issue(request(), ca(0), now=begin, lifetime=YEAR)
    assert made.not_valid_before_utc == begin


extension_values = st.sampled_from(
    [
        x.BasicConstraints(ca=True, path_length=0),
        x.BasicConstraints(ca=False, path_length=None),
        usage(key_cert_sign=True, crl_sign=True),
        usage(digital_signature=True, key_agreement=True, encipher_only=True),
        x.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
        x.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
        x.SubjectAlternativeName([x.DNSName("a"), x.UniformResourceIdentifier("urn:b")]),
        x.NameConstraints([x.DNSName("a")], None),
        x.UnrecognizedExtension(FOREIGN, b"\x05\x00"),
        x.PolicyConstraints(0, None),
    ]
)


@given(st.lists(st.tuples(extension_values, st.booleans()), unique_by=lambda e: e[0].oid))
def test_no_request_makes_its_holder_a_ca(
    extensions: list[tuple[x.ExtensionType, bool]],
) -> None:
    """Whatever the combination: refused, or an end entity that signs no certificates."""
    try:
        made = issued(*extensions)
    except ParameterError:
        return
    assert constraints(made) == (True, False, None)
    found = made.extensions.get_extension_for_class(x.KeyUsage).value
    assert not found.key_cert_sign
    assert not found.crl_sign
    assert made.serial_number.bit_length() > 64


@given(st.binary(max_size=600))
def test_no_bytes_crash_the_parser_of_requests(data: bytes) -> None:
    """Noise, and a request with noise in it, are refused."""
    good = request().public_bytes(serialization.Encoding.DER)
    broken = good[: len(data) % len(good)] + data
    for der in (data, broken):
        pem = b"-----BEGIN CERTIFICATE REQUEST-----\n%b\n-----END CERTIFICATE REQUEST-----\n"
        with pytest.raises(ParameterError):
            x509.load_request(pem % base64.b64encode(der))
