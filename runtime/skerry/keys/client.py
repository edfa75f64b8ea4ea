"""Calls to keyd, typed."""

import base64
from pathlib import Path
from urllib.parse import quote

from skerry.base.client import ServiceClient

_VERSION = "2021-05-01"


class KeysClient:
    """Uses the keys behind one keyd socket; raises ApiError and UnreachableError."""

    def __init__(self, socket_path: Path) -> None:
        self._service = ServiceClient(socket_path, _VERSION)

    def create_key(self, key_id: str, value: bytes | None = None) -> str:
        """Return the handle of a symmetric key, made if absent, or imported from `value`."""
        body: dict[str, object] = {"keyId": key_id, "usage": "derive,encrypt,sign"}
        if value is not None:
            body["keyBytes"] = _b64(value)
        return _field(self._service.post("/key", body), "keyHandle")

    def load_key(self, key_id: str) -> str:
        """Return the handle of a symmetric key that exists."""
        return _field(self._service.get(f"/key/{_quoted(key_id)}"), "keyHandle")

    def create_key_pair(self, key_id: str, preferred_algorithms: str = "ec-p256:rsa-2048:*") -> str:
        """Return the handle of a key pair, made if absent."""
        body = {"keyId": key_id, "preferredAlgorithms": preferred_algorithms}
        return _field(self._service.post("/keypair", body), "keyHandle")

    def load_key_pair(self, key_id: str) -> str:
        """Return the handle of a key pair that exists."""
        return _field(self._service.get(f"/keypair/{_quoted(key_id)}"), "keyHandle")

    def move_key_pair(self, source: str, target: str) -> None:
        """Give a key pair another id, replacing what was there."""
        self._service.post(f"/keypair/{_quoted(target)}", {"from": source})

    def delete_key_pair(self, handle: str) -> None:
        """Delete a key pair."""
        self._service.delete("/keypair", {"keyHandle": handle})

    def delete_key(self, handle: str) -> None:
        """Delete a symmetric key."""
        self._service.delete("/key", {"keyHandle": handle})

    def parameter(self, handle: str, name: str) -> str:
        """Return a public parameter; all but `algorithm` are base64."""
        return _field(self._service.post(f"/parameters/{name}", {"keyHandle": handle}), "value")

    def derive(self, base_handle: str, data: bytes) -> str:
        """Return the handle of the key derived from a symmetric key."""
        body = {"baseKeyHandle": base_handle, "derivationData": _b64(data)}
        return _field(self._service.post("/derivedkey", body), "keyHandle")

    def export_derived(self, handle: str) -> bytes:
        """Return the 32 bytes of a derived key."""
        return _unb64(self._service.post("/derivedkey/export", {"keyHandle": handle}), "key")

    def sign_hmac(self, handle: str, message: bytes) -> bytes:
        """Return HMAC-SHA256 of a message under a symmetric or derived key."""
        return self._sign(handle, "HMAC-SHA256", {"message": _b64(message)})

    def sign_ecdsa(self, handle: str, digest: bytes) -> bytes:
        """Return the DER signature of a digest by an EC key pair."""
        return self._sign(handle, "ECDSA", {"digest": _b64(digest)})

    def sign_rsa(self, handle: str, digest_info: bytes) -> bytes:
        """Return the PKCS#1 v1.5 signature of a DigestInfo by an RSA key pair."""
        body = {"keyHandle": handle, "algorithm": "RSA-PKCS1", "plaintext": _b64(digest_info)}
        return _unb64(self._service.post("/encrypt", body), "ciphertext")

    def sign_rsa_block(self, handle: str, block: bytes) -> bytes:
        """Return RSA's private operation on the encoding of a signature, padded by the caller."""
        body = {"keyHandle": handle, "algorithm": "RSA-NO-PADDING", "plaintext": _b64(block)}
        return _unb64(self._service.post("/encrypt", body), "ciphertext")

    def encrypt(self, handle: str, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt under AES-256-GCM with a nonce of keyd's own; the IV is authenticated."""
        body = {**_aead(handle, iv, aad), "plaintext": _b64(plaintext)}
        return _unb64(self._service.post("/encrypt", body), "ciphertext")

    def decrypt(self, handle: str, iv: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Undo `encrypt`."""
        body = {**_aead(handle, iv, aad), "ciphertext": _b64(ciphertext)}
        return _unb64(self._service.post("/decrypt", body), "plaintext")

    def _sign(self, handle: str, algorithm: str, parameters: dict[str, str]) -> bytes:
        body = {"keyHandle": handle, "algorithm": algorithm, "parameters": parameters}
        return _unb64(self._service.post("/sign", body), "signature")


class KeydSigner:
    """A key pair in keyd as `skerry.keys.tls.use_key` wants it."""

    def __init__(self, keys: KeysClient, handle: str) -> None:
        self._keys = keys
        self._handle = handle

    def sign_ecdsa(self, digest: bytes) -> bytes:
        """Return the DER signature of a digest."""
        return self._keys.sign_ecdsa(self._handle, digest)

    def rsa_private(self, block: bytes) -> bytes:
        """Return the private operation on the encoding of a signature."""
        return self._keys.sign_rsa_block(self._handle, block)


def _aead(handle: str, iv: bytes, aad: bytes) -> dict[str, object]:
    parameters = {"iv": _b64(iv), "aad": _b64(aad)}
    return {"keyHandle": handle, "algorithm": "AEAD", "parameters": parameters}


def _quoted(key_id: str) -> str:
    return quote(key_id, safe="")


def _field(answer: object, name: str) -> str:
    if not isinstance(answer, dict) or not isinstance(answer.get(name), str):
        raise TypeError(f"keyd answered {type(answer).__name__} without {name!r}")
    return str(answer[name])


def _unb64(answer: object, name: str) -> bytes:
    return base64.b64decode(_field(answer, name))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
