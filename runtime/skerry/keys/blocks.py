"""RSA's private operation on blocks that are padded already (`RSA-NO-PADDING`).

TLS stacks pad themselves and want the bare operation. Bare RSA on anything would forge signatures
of every kind and decrypt what others encrypted, so a block has to be the encoding of a signature
(RFC 8017): PKCS#1 v1.5 over a SHA-2 digest, or PSS with SHA-2 and a salt as long as the digest, as
TLS demands it. With salts of free length an encoding of another scheme could be passed off as PSS.

The operation for PSS is Python's `pow`, which does not run in constant time: base and exponents are
blinded with fresh randomness, and the result is checked before it is given out (a fault in one half
of the CRT would give the key away).
"""

import hashlib
import secrets

from cryptography.hazmat.primitives.asymmetric import rsa

from skerry.keys.crypto import DIGEST_INFO, KeyPair, sign_digest_info
from skerry.keys.errors import ParameterError

_TRAILER = 0xBC
_HASHES = ("sha256", "sha384", "sha512")
_EXPONENT_BLIND_BITS = 64


def sign_block(pair: KeyPair, block: bytes) -> bytes:
    """Return the private operation on a block; raises ParameterError if it is no signature's."""
    if not isinstance(pair, rsa.RSAPrivateKey):
        raise ParameterError("the key pair is EC; RSA-NO-PADDING needs an RSA key")
    info = check_block(block, pair.key_size)
    return _private_operation(pair, block) if info is None else sign_digest_info(pair, info)


def check_block(block: bytes, key_bits: int) -> bytes | None:
    """Check that a block is the encoding of a signature by a key of this size.

    Returns the DigestInfo of a PKCS#1 v1.5 block, None for PSS; raises ParameterError.
    """
    size = (key_bits + 7) // 8
    if len(block) != size:
        raise ParameterError(f"the block has {len(block)} bytes, expected {size} for this key")
    info = _unpadded(block)
    if info is None and not any(_is_pss(block, key_bits, name) for name in _HASHES):
        raise ParameterError(
            "RSA-NO-PADDING takes the encoding of a PKCS#1 v1.5 or PSS signature with SHA-2 only"
        )
    return info


def pad_digest_info(info: bytes, size: int) -> bytes:
    """Return a DigestInfo padded for a signature of `size` bytes (RFC 8017, 9.2)."""
    return b"\0\1" + b"\xff" * (size - 3 - len(info)) + b"\0" + info


def _unpadded(block: bytes) -> bytes | None:
    """Return the DigestInfo in a PKCS#1 v1.5 block."""
    for prefix, digest_size in DIGEST_INFO.items():
        info = block[-len(prefix) - digest_size :]
        if info.startswith(prefix) and block == pad_digest_info(info, len(block)):
            return info
    return None


def _is_pss(block: bytes, key_bits: int, hash_name: str) -> bool:
    """Tell whether a block is EMSA-PSS with a salt of the digest's size (RFC 8017, 9.1.2)."""
    digest_size = hashlib.new(hash_name).digest_size
    size = (key_bits + 6) // 8
    encoded, lead = block[len(block) - size :], block[: len(block) - size]
    room = size - digest_size - 1
    if any(lead) or encoded[-1] != _TRAILER or room < digest_size + 1:
        return False
    masked = int.from_bytes(encoded[:room], "big")
    used_bits = 8 * room - (8 * size - (key_bits - 1))
    if masked.bit_length() > used_bits:
        return False
    mask = int.from_bytes(_mgf1(encoded[room:-1], room, hash_name), "big")
    data = (masked ^ mask) & ((1 << used_bits) - 1)
    return data >> 8 * digest_size == 1


def _mgf1(seed: bytes, size: int, hash_name: str) -> bytes:
    blocks = -(-size // hashlib.new(hash_name).digest_size)
    parts = (
        hashlib.new(hash_name, seed + counter.to_bytes(4, "big")).digest()
        for counter in range(blocks)
    )
    return b"".join(parts)[:size]


def _private_operation(pair: rsa.RSAPrivateKey, block: bytes) -> bytes:
    numbers = pair.private_numbers()
    modulus, exponent = numbers.public_numbers.n, numbers.public_numbers.e
    message = int.from_bytes(block, "big")
    blind = secrets.randbelow(modulus - 2) + 2
    base = message * pow(blind, exponent, modulus) % modulus
    half_p = _half(base, numbers.dmp1, numbers.p)
    half_q = _half(base, numbers.dmq1, numbers.q)
    result = half_q + numbers.q * ((half_p - half_q) * numbers.iqmp % numbers.p)
    result = result * pow(blind, -1, modulus) % modulus
    if pow(result, exponent, modulus) != message:
        raise ParameterError("the RSA operation does not verify; the key or the machine is damaged")
    return result.to_bytes(len(block), "big")


def _half(base: int, exponent: int, prime: int) -> int:
    blinded = exponent + secrets.randbits(_EXPONENT_BLIND_BITS) * (prime - 1)
    return pow(base % prime, blinded, prime)
