"""Keys whose private half is an object in a PKCS#11 token."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from skerry.keys import crypto
from skerry.keys.blocks import check_block
from skerry.keys.errors import ParameterError
from skerry.keys.model import ALL_USES, Use
from skerry.keys.pkcs11_uri import Pkcs11Uri
from skerry.keys.token import Token, raw_to_der


class Tokens:
    """The tokens behind one library, each opened once."""

    def __init__(self, library: str, make: Callable[[str, Pkcs11Uri], Token] = Token) -> None:
        self._library = library
        self._make = make
        self._known: dict[Pkcs11Uri, Token] = {}

    def at(self, uri: Pkcs11Uri) -> Token:
        """Return the token of a URI, whatever object it names."""
        token = replace(uri, label=None, object_id=None)
        return self._known.setdefault(token, self._make(self._library, token))


@dataclass(frozen=True)
class TokenKey:
    """A symmetric key in a token. HMAC and AES are objects of their own."""

    token: Token
    object_id: bytes
    uses: frozenset[Use] = ALL_USES

    def hmac(self, data: bytes) -> bytes:
        """Return HMAC-SHA256."""
        return self.token.sign(self.object_id, "SECRET_KEY", "SHA256_HMAC", data)

    def encrypt(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Return the AES-256-GCM ciphertext, version 3."""
        nonce, associated = secrets.token_bytes(crypto.NONCE_BYTES), crypto.bound(iv, aad)
        sealed = self.token.aead(self.object_id, nonce, associated, plaintext, seal=True)
        return crypto.VERSION_3 + nonce + sealed

    def decrypt(self, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext; version 1 was never written with keys in tokens."""
        nonce, associated, body = crypto.opened(iv, aad, ciphertext)
        if ciphertext.startswith(crypto.VERSION_1) or len(body) < crypto.TAG_BYTES:
            raise ParameterError("the ciphertext is of no version that this key has made")
        return self.token.aead(self.object_id, nonce, associated, body, seal=False)


@dataclass(frozen=True)
class TokenPair:
    """A key pair in a token."""

    token: Token
    object_id: bytes

    def public(self) -> crypto.PublicKey:
        """Return the public half."""
        return self.token.public(self.object_id)

    def sign_digest(self, digest: bytes) -> bytes:
        """Return the ECDSA signature."""
        if not isinstance(self.public(), ec.EllipticCurvePublicKey):
            raise ParameterError("the key pair is RSA; ECDSA needs an EC key")
        checked = crypto.check_digest(digest)
        return raw_to_der(self.token.sign(self.object_id, "PRIVATE_KEY", "ECDSA", checked))

    def sign_digest_info(self, info: bytes) -> bytes:
        """Return the PKCS#1 v1.5 signature."""
        self._rsa_bits("RSA-PKCS1")
        checked = crypto.check_digest_info(info)
        return self.token.sign(self.object_id, "PRIVATE_KEY", "RSA_PKCS", checked)

    def sign_block(self, block: bytes) -> bytes:
        """Return RSA's private operation on the encoding of a signature."""
        check_block(block, self._rsa_bits("RSA-NO-PADDING"))
        return self.token.sign(self.object_id, "PRIVATE_KEY", "RSA_X_509", block)

    def _rsa_bits(self, algorithm: str) -> int:
        public = self.public()
        if not isinstance(public, rsa.RSAPublicKey):
            raise ParameterError(f"the key pair is EC; {algorithm} needs an RSA key")
        return public.key_size
