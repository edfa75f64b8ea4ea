"""Keys that can be used, wherever their private bytes are; and those whose bytes are in a file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from skerry.base.fields import b64
from skerry.keys import crypto
from skerry.keys.blocks import sign_block
from skerry.keys.errors import ParameterError
from skerry.keys.model import ALL_USES, Use


class SymmetricKey(Protocol):
    """A symmetric key; `uses` is what it was made for. Sizes and errors are those of `crypto`."""

    @property
    def uses(self) -> frozenset[Use]: ...

    def hmac(self, data: bytes) -> bytes: ...

    def encrypt(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes: ...

    def decrypt(self, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes: ...


class PairKey(Protocol):
    """A key pair; what it cannot do raises ParameterError."""

    def public(self) -> crypto.PublicKey: ...

    def sign_digest(self, digest: bytes) -> bytes: ...

    def sign_digest_info(self, info: bytes) -> bytes: ...

    def sign_block(self, block: bytes) -> bytes: ...


@dataclass(frozen=True)
class FileKey:
    """A symmetric key by its bytes."""

    data: bytes = field(repr=False)
    uses: frozenset[Use] = ALL_USES

    def hmac(self, data: bytes) -> bytes:
        """Return HMAC-SHA256."""
        return crypto.hmac_sha256(self.data, data)

    def encrypt(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Return the AES-256-GCM ciphertext, version 3."""
        return crypto.encrypt(self.data, iv, aad, plaintext)

    def decrypt(self, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext of a ciphertext of any version."""
        return crypto.decrypt(self.data, iv, aad, ciphertext)


@dataclass(frozen=True)
class FilePair:
    """A key pair by its private key."""

    private: crypto.KeyPair = field(repr=False)

    def public(self) -> crypto.PublicKey:
        """Return the public half."""
        return self.private.public_key()

    def sign_digest(self, digest: bytes) -> bytes:
        """Return the ECDSA signature."""
        return crypto.sign_digest(self.private, digest)

    def sign_digest_info(self, info: bytes) -> bytes:
        """Return the PKCS#1 v1.5 signature."""
        return crypto.sign_digest_info(self.private, info)

    def sign_block(self, block: bytes) -> bytes:
        """Return RSA's private operation on the encoding of a signature."""
        return sign_block(self.private, block)


def used_for(key: SymmetricKey, use: Use) -> SymmetricKey:
    """Return the key if it was made for this use; raises ParameterError."""
    if use not in key.uses:
        made_for = ", ".join(sorted(key.uses))
        raise ParameterError(f"the key is not for use {str(use)!r}, it was made for {made_for}")
    return key


def public_parameter(public: crypto.PublicKey, name: str) -> str:
    """Return a public parameter as the API spells it; raises ParameterError."""
    shown: dict[str, Callable[[], str]]
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        shown = {
            "algorithm": lambda: "RSA",
            "rsa-modulus": lambda: b64(_big_endian(numbers.n)),
            "rsa-exponent": lambda: b64(_big_endian(numbers.e)),
        }
    else:
        shown = {
            "algorithm": lambda: "ECDSA",
            "ec-curve-oid": lambda: b64(crypto.curve_oid(public.curve)),
            "ec-point": lambda: b64(_point(public)),
        }
    if name not in shown:
        raise ParameterError(f"parameter {name!r} is not one of this kind of key pair")
    return shown[name]()


def _point(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
