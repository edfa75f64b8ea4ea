"""Structures of a TPM: what is written reads back, and what is wrong is named."""

import hashlib
import hmac
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from skerry.wire.tpm import (
    ENDORSEMENT_TEMPLATE,
    STORAGE_TEMPLATE,
    Attributes,
    HmacParameters,
    ImportBlob,
    Kind,
    Public,
    RsaParameters,
    TpmDataError,
    parse_import_blob,
    parse_public,
    sized,
)
from skerry.wire.tpm_credential import cfb, kdf_a, make_import_blob

attributes = st.integers(0, 2**32 - 1).map(Attributes)
rsa_parameters = st.builds(
    RsaParameters, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 2**32 - 1)
)
short = st.binary(max_size=300)
publics = st.builds(
    Public, attributes, rsa_parameters | st.builds(HmacParameters, st.booleans()), short, short
)
hmac_publics = st.builds(Public, attributes, st.builds(HmacParameters, st.booleans()), short, short)
blobs = st.builds(ImportBlob, short, short, short, short, hmac_publics)


@pytest.fixture(scope="module")
def keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """The private keys of a make-believe TPM: endorsement and storage root."""
    return rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)


def public_of(key: rsa.RSAPrivateKey, template: Public) -> bytes:
    """Return a key's TPM2B_PUBLIC."""
    modulus = key.public_key().public_numbers().n.to_bytes(256, "big")
    return replace(template, unique=modulus).marshal()


@given(publics)
def test_a_public_area_reads_back(public: Public) -> None:
    """Parsing what was marshalled gives the same key, of the same name."""
    again = parse_public(public.marshal())
    assert again == public
    assert again.name() == b"\x00\x0b" + hashlib.sha256(public.area()).digest()


@given(blobs)
def test_an_import_blob_reads_back(blob: ImportBlob) -> None:
    """Parsing what was marshalled gives the same five parts."""
    assert parse_import_blob(blob.marshal()) == blob


@given(st.binary(max_size=600))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    """Nothing but TpmDataError comes of foreign bytes; what is accepted is written as it was."""
    for parse in (parse_public, parse_import_blob):
        try:
            found = parse(data)
        except TpmDataError:
            continue
        assert found.marshal() == data


@given(publics, st.data())
def test_a_cut_public_area_is_refused(public: Public, data: st.DataObject) -> None:
    """No shorter part of a key is a key."""
    whole = public.marshal()
    with pytest.raises(TpmDataError):
        parse_public(whole[: data.draw(st.integers(0, len(whole) - 1))])


EK = ENDORSEMENT_TEMPLATE.area()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "public area ends early: 2 bytes expected", id="nothing"),
        pytest.param(bytes(5000), "has 5000 bytes, expected at most 4096", id="too long"),
        pytest.param(sized(EK) + b"x", "has 1 bytes too many", id="something behind"),
        pytest.param(sized(EK + b"x"), "has 1 bytes too many", id="something behind inside"),
        pytest.param(sized(b"\x00\x23" + EK[2:]), "kind of key is 0x0023, expected", id="ECC"),
        pytest.param(
            sized(EK[:2] + b"\x00\x0c" + EK[4:]),
            "hash of the name is 0x000c, expected 0x000b",
            id="another hash",
        ),
        pytest.param(
            sized(b"\x00\x08\x00\x0b" + bytes(6) + b"\x00\x0a"),
            "scheme is 0x000a, expected HMAC",
            id="XOR",
        ),
    ],
)
def test_what_is_wrong_is_named(data: bytes, message: str) -> None:
    """The message says which field is not what was expected."""
    with pytest.raises(TpmDataError, match=message):
        parse_public(data)


def test_an_rsa_key_is_no_authentication_key() -> None:
    """The last part of a blob has to be the public area of an HMAC key."""
    data = sized(b"") * 4 + ENDORSEMENT_TEMPLATE.marshal()
    with pytest.raises(TpmDataError, match="is an RSA key, expected an HMAC key"):
        parse_import_blob(data)


def test_kinds_follow_from_parameters() -> None:
    """An RSA key is RSA, the other a keyed hash."""
    secret = Public(Attributes.SIGN, HmacParameters(), b"")
    assert (STORAGE_TEMPLATE.kind, secret.kind) == (Kind.RSA, Kind.KEYEDHASH)


def test_kdf_a_fills_more_than_one_block() -> None:
    """Counter mode goes on where a hash ends, and a shorter key is not a prefix of a longer one."""
    long = kdf_a(b"k", b"L", b"c", 512)
    first = hmac.digest(b"k", b"\0\0\0\x01L\0c\0\0\x02\0", "sha256")
    assert (len(long), long[:32]) == (64, first)
    assert kdf_a(b"k", b"L", b"c", 256) != first


def test_cfb_is_that_of_nist() -> None:
    """First block of SP 800-38A's key under a zero IV is the block cipher's; then it chains."""
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    stream = cfb(key, bytes(16))
    assert stream.hex() == "7df76b0c1ab899b33e42f047b91b546f"
    assert cfb(key, bytes(20))[16:] == cfb(key, bytes(32))[16:20]
    assert cfb(key, bytes(15)) == stream[:15]


def test_a_blob_opens_with_both_keys(
    keys: tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey],
) -> None:
    """What the TPM does, by hand: credential out by the EK, duplicate open by the SRK."""
    ek, srk = keys
    srk_public = public_of(srk, STORAGE_TEMPLATE)
    data = make_import_blob(public_of(ek, ENDORSEMENT_TEMPLATE), srk_public, b"swordfish")
    assert b"swordfish" not in data
    blob = parse_import_blob(data)
    identity = decrypt(ek, blob.secret, b"IDENTITY\0")
    name = parse_public(srk_public).name()
    inner = open_protected(blob.credential, identity, name)
    assert inner[:2] == b"\x00\x10"
    seed = decrypt(srk, blob.seed, b"DUPLICATE\0")
    wrapped = open_protected(blob.duplicate, seed, blob.public.name())
    plain = undo_cfb(inner[2:], wrapped)
    integrity, sensitive = plain[2:34], plain[34:]
    assert integrity == hashlib.sha256(sensitive + blob.public.name()).digest()
    assert sensitive.endswith(sized(b"swordfish"))
    assert blob.public.unique == hashlib.sha256(sensitive[8:40] + b"swordfish").digest()


def test_two_blobs_have_nothing_in_common(
    keys: tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey],
) -> None:
    """The same key for the same TPM is wrapped afresh each time."""
    ek, srk = public_of(keys[0], ENDORSEMENT_TEMPLATE), public_of(keys[1], STORAGE_TEMPLATE)
    first, second = (parse_import_blob(make_import_blob(ek, srk, b"key")) for _ in range(2))
    assert first.credential != second.credential
    assert first.public.unique != second.public.unique


def test_keys_of_another_make_are_refused(
    keys: tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey],
) -> None:
    """An EK in the SRK's place, a short modulus, an even one and a key too long are named."""
    ek, srk = (
        public_of(keys[0], ENDORSEMENT_TEMPLATE),
        public_of(keys[1], STORAGE_TEMPLATE),
    )
    wide = replace(STORAGE_TEMPLATE, parameters=RsaParameters(exponent=3)).marshal()
    for bad, message in (
        ((srk, srk, b"k"), "endorsement key is not RSA 2048 of the TCG's template"),
        ((ek, ek, b"k"), "storage root key is not RSA 2048 of the TCG's template"),
        ((ek, wide, b"k"), "storage root key is not RSA 2048"),
        ((ek, replace(STORAGE_TEMPLATE, unique=b"\1").marshal(), b"k"), "a modulus of 8 bits"),
        ((ek, STORAGE_TEMPLATE.marshal(), b"k"), "RSA key cannot be used"),
        ((ek, srk, b""), "key has 0 bytes, expected 1 to 64"),
        ((ek, srk, bytes(65)), "key has 65 bytes, expected 1 to 64"),
    ):
        with pytest.raises(TpmDataError, match=message):
            make_import_blob(*bad)


def decrypt(key: rsa.RSAPrivateKey, secret: bytes, label: bytes) -> bytes:
    """Undo OAEP."""
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
    return key.decrypt(secret, oaep)


def open_protected(data: bytes, seed: bytes, name: bytes) -> bytes:
    """Check and undo an outer wrapping."""
    mac, encrypted = data[2:34], data[34:]
    key = kdf_a(seed, b"INTEGRITY", b"", 256)
    assert mac == hmac.digest(key, encrypted + name, "sha256")
    return undo_cfb(kdf_a(seed, b"STORAGE", name, 128), encrypted)


def undo_cfb(key: bytes, data: bytes) -> bytes:
    """Decrypt block by block: encrypting the plain text so far leads to the next keystream."""
    plain = b""
    for start in range(0, len(data), 16):
        keystream = cfb(key, plain + bytes(16))[start:]
        plain += bytes(a ^ b for a, b in zip(data[start : start + 16], keystream, strict=False))
    return plain
