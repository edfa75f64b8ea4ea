"""RSA blocks: what passes is the encoding of a signature, byte by byte."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from skerry.keys import crypto
from skerry.keys.blocks import check_block, pad_digest_info
from skerry.keys.errors import ParameterError

_BITS = 2048
_KEY = rsa.generate_private_key(65537, _BITS)
_NUMBERS = _KEY.public_key().public_numbers()


def _pss() -> bytes:
    signature = _KEY.sign(b"m", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    number = pow(int.from_bytes(signature, "big"), _NUMBERS.e, _NUMBERS.n)
    return number.to_bytes(_BITS // 8, "big")


ALLOWED = (ParameterError,)
SEEDS = (_pss(), pad_digest_info(crypto.digest_info(bytes(32)), _BITS // 8))


def one(data: bytes) -> None:
    """Check a block; a PKCS#1 one has to be its DigestInfo, padded."""
    info = check_block(data, _BITS)
    if info is not None and pad_digest_info(info, _BITS // 8) != data:
        raise AssertionError("a block with something else in it passed")
    if info is None and data[-1] != 0xBC:
        raise AssertionError("a block that is no PSS passed")
