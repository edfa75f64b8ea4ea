"""The arithmetic of keyd: HMAC, AEAD and signatures over bytes that are already loaded.

An AEAD ciphertext is version 3: `0x03`, a fresh nonce of 12 bytes, the ciphertext of AES-256-GCM,
16 bytes of tag. The caller's IV and associated data are both authenticated, and whoever uses one IV
twice, as upstream's agent does, gives nothing away. Upstream's versions are only decrypted: 2
(`0x02`, ciphertext, tag; the IV is the nonce) and 1 (`0x01`, tag, ciphertext).
"""

import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skerry.keys.errors import ParameterError

KeyPair = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

CURVES: dict[bytes, type[ec.EllipticCurve]] = {
    bytes.fromhex("2a8648ce3d030107"): ec.SECP256R1,
    bytes.fromhex("2b81040022"): ec.SECP384R1,
    bytes.fromhex("2b81040023"): ec.SECP521R1,
}
"""The curves of usable key pairs, by the content of their DER object identifier."""

TAG_BYTES = 16
AES_BYTES = 32
_MIN_IV_BYTES = 8
_MAX_IV_BYTES = 128
NONCE_BYTES = 12
VERSION_1, VERSION_2, VERSION_3 = b"\x01", b"\x02", b"\x03"
_HASH_BY_SIZE: dict[int, hashes.HashAlgorithm] = {
    32: hashes.SHA256(),
    48: hashes.SHA384(),
    64: hashes.SHA512(),
}
DIGEST_INFO = {
    bytes.fromhex("3031300d060960864801650304020105000420"): 32,
    bytes.fromhex("3041300d060960864801650304020205000430"): 48,
    bytes.fromhex("3051300d060960864801650304020305000440"): 64,
}
"""What a DER DigestInfo begins with -> bytes of the digest that follows."""


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """Return the 32 bytes of HMAC-SHA256."""
    return hmac.digest(key, data, "sha256")


def encrypt(key: bytes, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """Return `plaintext` under AES-256-GCM, version 3."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return VERSION_3 + nonce + _aes(key).encrypt(nonce, plaintext, bound(iv, aad))


def decrypt(key: bytes, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    """Return the plaintext; raises ParameterError when anything does not match."""
    nonce, associated, body = opened(iv, aad, ciphertext)
    try:
        return _aes(key).decrypt(nonce, body, associated)
    except InvalidTag as error:
        raise ParameterError(
            "the ciphertext, IV and associated data do not belong together"
        ) from error


def bound(iv: bytes, aad: bytes) -> bytes:
    """Return what version 3 authenticates besides the plaintext; raises ParameterError."""
    return len(check_iv(iv)).to_bytes(4, "big") + iv + aad


def opened(iv: bytes, aad: bytes, ciphertext: bytes) -> tuple[bytes, bytes, bytes]:
    """Return nonce, associated data, and ciphertext with the tag behind it, of any version."""
    version, body = ciphertext[:1], ciphertext[1:]
    if version == VERSION_3 and len(body) >= NONCE_BYTES + TAG_BYTES:
        return body[:NONCE_BYTES], bound(iv, aad), body[NONCE_BYTES:]
    if version == VERSION_2:
        return check_iv(iv), aad, body
    if version == VERSION_1:
        return check_iv(iv), aad, body[TAG_BYTES:] + body[:TAG_BYTES]
    raise ParameterError("the ciphertext is of no version that this service knows")


def sign_digest(pair: KeyPair, digest: bytes) -> bytes:
    """Return the ECDSA signature (DER) of a digest of 32, 48 or 64 bytes."""
    if not isinstance(pair, ec.EllipticCurvePrivateKey):
        raise ParameterError("the key pair is RSA; ECDSA needs an EC key, RSA signs by RSA-PKCS1")
    return pair.sign(digest, ec.ECDSA(utils.Prehashed(_hash(digest))))


def sign_digest_info(pair: KeyPair, digest_info: bytes) -> bytes:
    """Return the RSA PKCS#1 v1.5 signature of a DER DigestInfo.

    Upstream calls this `encrypt` with `RSA-PKCS1`; anything but the DigestInfo of a SHA-2 digest is
    refused, so that nobody uses a signing key on data of their own making.
    """
    if not isinstance(pair, rsa.RSAPrivateKey):
        raise ParameterError("the key pair is EC; RSA-PKCS1 needs an RSA key, EC signs by ECDSA")
    digest = check_digest_info(digest_info)[-_digest_size(digest_info) :]
    return pair.sign(digest, padding.PKCS1v15(), utils.Prehashed(_hash(digest)))


def digest_info(digest: bytes) -> bytes:
    """Return the DER DigestInfo of a SHA-2 digest, what `sign_digest_info` takes."""
    prefixes = {size: prefix for prefix, size in DIGEST_INFO.items()}
    return prefixes[len(digest)] + digest


def curve_oid(curve: ec.EllipticCurve) -> bytes:
    """Return the object identifier of a curve, which is one of CURVES."""
    return next(oid for oid, known in CURVES.items() if isinstance(curve, known))


def check_digest(digest: bytes) -> bytes:
    """Return a digest of 32, 48 or 64 bytes; raises ParameterError for any other."""
    _hash(digest)
    return digest


def check_digest_info(info: bytes) -> bytes:
    """Return the DigestInfo of a SHA-2 digest; raises ParameterError for anything else."""
    for prefix, size in DIGEST_INFO.items():
        if info.startswith(prefix) and len(info) == len(prefix) + size:
            return info
    raise ParameterError("RSA-PKCS1 signs the DigestInfo of SHA-256, SHA-384 or SHA-512 only")


def check_iv(iv: bytes) -> bytes:
    """Return an IV of usable size; raises ParameterError for any other."""
    if not _MIN_IV_BYTES <= len(iv) <= _MAX_IV_BYTES:
        raise ParameterError(
            f"the iv has {len(iv)} bytes, expected {_MIN_IV_BYTES} to {_MAX_IV_BYTES}"
        )
    return iv


def _digest_size(info: bytes) -> int:
    return next(size for prefix, size in DIGEST_INFO.items() if info.startswith(prefix))


def _hash(digest: bytes) -> hashes.HashAlgorithm:
    algorithm = _HASH_BY_SIZE.get(len(digest))
    if algorithm is None:
        raise ParameterError(f"the digest has {len(digest)} bytes, expected 32, 48 or 64")
    return algorithm


def _aes(key: bytes) -> AESGCM:
    if len(key) != AES_BYTES:
        raise ParameterError(f"the key has {len(key)} bytes; AEAD needs {AES_BYTES}")
    return AESGCM(key)
