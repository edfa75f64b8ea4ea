"""Making a key that one TPM alone can unwrap: what a provisioning service computes, without a TPM.

1. The secret key is wrapped with a random inner key (AES-128-CFB) and a hash of it all.
2. Around it the duplicate, encrypted with a seed that only the storage root key (SRK) decrypts.
3. The inner key is the credential that only a TPM with the endorsement key (EK) *and* that very SRK
   gives out (TPM2_MakeCredential and its counterpart TPM2_ActivateCredential).

Source: TCG, Trusted Platform Module Library, part 1, sections 11.4.10 (KDFa), 23 (duplication) and
24 (credentials), annex B.4 (OAEP).
"""

import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from skerry.wire.tpm import (
    ENDORSEMENT_TEMPLATE,
    RSA_BITS,
    STORAGE_TEMPLATE,
    Attributes,
    HmacParameters,
    ImportBlob,
    Public,
    TpmDataError,
    parse_public,
    sized,
)

MAX_KEY_BYTES = 64
"""The block of SHA-256: TPMs take no longer keys for an HMAC."""
_HASH_BYTES = 32
_HASH_BITS = 256
_INNER_BYTES = 16
_BLOCK = 16
_KEYEDHASH = 0x0008
_EXPONENT = 65537
_KEY_ATTRIBUTES = Attributes.USER_WITH_AUTH | Attributes.NO_DA | Attributes.SIGN

RandomBytes = Callable[[int], bytes]


def make_import_blob(
    ek_public: bytes,
    srk_public: bytes,
    auth_key: bytes,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> bytes:
    """Encrypt an HMAC key for the TPM with these keys, each a marshalled TPM2B_PUBLIC.

    Returns TPM2B_ID_OBJECT ‖ TPM2B_ENCRYPTED_SECRET ‖ TPM2B_PRIVATE ‖ TPM2B_ENCRYPTED_SECRET ‖
    TPM2B_PUBLIC. Raises: TpmDataError for keys that are not an EK and an SRK of RSA 2048.
    """
    if not 1 <= len(auth_key) <= MAX_KEY_BYTES:
        raise TpmDataError(f"key has {len(auth_key)} bytes, expected 1 to {MAX_KEY_BYTES}")
    ek = _storage_key(ek_public, "endorsement key", ENDORSEMENT_TEMPLATE)
    srk = _storage_key(srk_public, "storage root key", STORAGE_TEMPLATE)
    inner = random_bytes(_INNER_BYTES)
    identity = random_bytes(_HASH_BYTES)
    credential = make_credential(identity, srk.name(), inner)
    salt = random_bytes(_HASH_BYTES)
    unique = hashlib.sha256(salt + auth_key).digest()
    public = Public(_KEY_ATTRIBUTES, HmacParameters(), unique)
    seed = random_bytes(_HASH_BYTES)
    duplicate = wrap(_sensitive(salt, auth_key), public.name(), inner, seed)
    blob = ImportBlob(
        credential,
        _encrypt(ek, identity, b"IDENTITY\0"),
        duplicate,
        _encrypt(srk, seed, b"DUPLICATE\0"),
        public,
    )
    return blob.marshal()


def make_credential(seed: bytes, name: bytes, credential: bytes) -> bytes:
    """Return the TPMS_ID_OBJECT that gives `credential` out to the object called `name`."""
    return _protect(sized(credential), seed, name)


def wrap(sensitive: bytes, name: bytes, inner_key: bytes, seed: bytes) -> bytes:
    """Return the duplicate of an object: `sensitive` is its TPM2B_SENSITIVE."""
    integrity = hashlib.sha256(sensitive + name).digest()
    return _protect(cfb(inner_key, sized(integrity) + sensitive), seed, name)


def kdf_a(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """Derive key material with SHA-256; `label` without its final zero."""
    made = b""
    counter = 0
    while len(made) * 8 < bits:
        counter += 1
        data = struct.pack(">I", counter) + label + b"\0" + context + struct.pack(">I", bits)
        made += hmac.digest(key, data, "sha256")
    return made[: bits // 8]


def cfb(key: bytes, data: bytes) -> bytes:
    """Encrypt with AES-CFB and a zero IV, as TPMs do: each key is used once.

    From single blocks: the mode itself is being removed from the library.
    """
    ecb = modes.ECB()  # noqa: S305  only to encrypt single blocks, the keystream of CFB
    encryptor = Cipher(algorithms.AES(key), ecb).encryptor()
    made = previous = b""
    for start in range(0, len(data), _BLOCK):
        stream = encryptor.update(previous or bytes(_BLOCK))
        part = data[start : start + _BLOCK]
        previous = bytes(a ^ b for a, b in zip(part, stream, strict=False))
        made += previous
    return made


def _protect(data: bytes, seed: bytes, name: bytes) -> bytes:
    """Encrypt and authenticate with keys that come from a seed: a TPM's outer wrapping."""
    encrypted = cfb(kdf_a(seed, b"STORAGE", name, 128), data)
    mac_key = kdf_a(seed, b"INTEGRITY", b"", _HASH_BITS)
    return sized(hmac.digest(mac_key, encrypted + name, "sha256")) + encrypted


def _sensitive(salt: bytes, key: bytes) -> bytes:
    """Return the TPM2B_SENSITIVE of a keyed hash without a password."""
    return sized(struct.pack(">H", _KEYEDHASH) + sized(b"") + sized(salt) + sized(key))


def _storage_key(data: bytes, what: str, template: Public) -> Public:
    public = parse_public(data, what)
    if not public.made_by(template):
        raise TpmDataError(f"{what} is not RSA {RSA_BITS} of the TCG's template")
    if len(public.unique) * 8 != RSA_BITS:
        raise TpmDataError(f"{what} has a modulus of {len(public.unique) * 8} bits")
    return public


def _encrypt(public: Public, secret: bytes, label: bytes) -> bytes:
    try:
        key = rsa.RSAPublicNumbers(_EXPONENT, int.from_bytes(public.unique, "big")).public_key()
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
        return key.encrypt(secret, oaep)
    except ValueError as error:
        raise TpmDataError(f"RSA key cannot be used: {error}") from error
