"""RSA on ready-made blocks: signatures and nothing else."""

import hashlib
import secrets

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.keys import crypto
from skerry.keys.blocks import pad_digest_info, sign_block
from skerry.keys.errors import ParameterError

KEYS = {bits: rsa.generate_private_key(65537, bits) for bits in (2048, 2049, 1030)}
HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}


def opened(key: rsa.RSAPrivateKey, signature: bytes) -> bytes:
    """Return the block in a signature: the public operation."""
    numbers = key.public_key().public_numbers()
    number = pow(int.from_bytes(signature, "big"), numbers.e, numbers.n)
    return number.to_bytes((key.key_size + 7) // 8, "big")


def pss_block(key: rsa.RSAPrivateKey, hash_name: str, salt_size: int | None = None) -> bytes:
    """Return a PSS block as a signature of the library holds it."""
    algorithm = HASHES[hash_name]
    size = algorithm.digest_size if salt_size is None else salt_size
    scheme = padding.PSS(padding.MGF1(algorithm), size)
    return opened(key, key.sign(b"message", scheme, algorithm))


@pytest.mark.parametrize("bits", [2048, 2049])
@pytest.mark.parametrize("hash_name", HASHES)
def test_pss_blocks_become_signatures(bits: int, hash_name: str) -> None:
    """The result verifies as PSS, also where the block is a byte shorter than the modulus."""
    key, algorithm = KEYS[bits], HASHES[hash_name]
    signature = sign_block(key, pss_block(key, hash_name))
    scheme = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    key.public_key().verify(signature, b"message", scheme, algorithm)


def test_pkcs1_blocks_become_signatures() -> None:
    """A padded DigestInfo gives the signature of its digest."""
    key, digest = KEYS[2048], hashlib.sha384(b"m").digest()
    signature = sign_block(key, pad_digest_info(crypto.digest_info(digest), 256))
    key.public_key().verify(signature, digest, padding.PKCS1v15(), Prehashed(hashes.SHA384()))


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(bytes(256), id="zeros"),
        pytest.param(b"\0\2" + b"\1" * 253 + b"\0", id="PKCS#1 encryption"),
        pytest.param(pss_block(KEYS[2048], "sha256", 20), id="salt of another size"),
        pytest.param(b"\xff" + pss_block(KEYS[2048], "sha256")[1:], id="too large"),
        pytest.param(pss_block(KEYS[2048], "sha256")[:-1] + b"\xbb", id="other trailer"),
        pytest.param(
            pad_digest_info(bytes.fromhex("3021300906052b0e03021a05000414") + bytes(20), 256),
            id="SHA-1",
        ),
    ],
)
def test_other_blocks_are_refused(block: bytes) -> None:
    """Bare RSA would decrypt and forge."""
    with pytest.raises(ParameterError, match=r"takes the encoding of a PKCS#1 v1\.5 or PSS"):
        sign_block(KEYS[2048], block)


def test_sizes_and_kinds_are_checked() -> None:
    """A block of another size, a key too small for PSS, and an EC key are named."""
    with pytest.raises(ParameterError, match="has 255 bytes, expected 256"):
        sign_block(KEYS[2048], bytes(255))
    with pytest.raises(ParameterError, match="takes the encoding"):
        sign_block(KEYS[1030], bytes(128) + b"\xbc")
    with pytest.raises(ParameterError, match="the key pair is EC"):
        sign_block(ec.generate_private_key(ec.SECP256R1()), b"")


@settings(deadline=None)
@given(st.binary(min_size=256, max_size=256))
def test_random_blocks_are_refused(block: bytes) -> None:
    """No block that is not made as an encoding passes for one."""
    with pytest.raises(ParameterError):
        sign_block(KEYS[2048], block)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 255), st.integers(0, 7))
def test_a_changed_block_is_refused(position: int, bit: int) -> None:
    """Every bit of the masked data counts; only those of the hash and salt may differ."""
    block = bytearray(pss_block(KEYS[2048], "sha256"))
    block[position] ^= 1 << bit
    if position < 256 - 32 - 1 - 33 or position == 255:
        with pytest.raises(ParameterError):
            sign_block(KEYS[2048], bytes(block))


def test_a_damaged_key_gives_nothing_away() -> None:
    """With one half of the CRT wrong the result would reveal the key, so none is given."""
    key, other = KEYS[2048], rsa.generate_private_key(65537, 2048)
    numbers = key.private_numbers()
    wrong = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d, numbers.dmp1 ^ 2, numbers.dmq1, numbers.iqmp,
        numbers.public_numbers,
    )  # fmt: skip
    damaged = wrong.private_key(unsafe_skip_rsa_key_validation=True)
    block = pss_block(key, "sha256")
    assert other.key_size == damaged.key_size
    with pytest.raises(ParameterError, match="does not verify"):
        sign_block(damaged, block)
    assert secrets.compare_digest(opened(key, sign_block(key, block)), block)
