"""What the workload API does with keys: a module's own key, and the one for its stored data.

A module's key stays in keyd; edged keeps its handle, so that a token costs one call. Encryption is
bound to module and generation: what one module encrypted, no other can read back.
"""

import threading

from skerry.base.client import ApiError
from skerry.identity.client import IdentityClient
from skerry.keys.client import KeysClient

MASTER_KEY = "iotedge_master_encryption_id"


class Keyring:
    """Signs, encrypts and decrypts for modules; raises ApiError and UnreachableError."""

    def __init__(self, keys: KeysClient, identities: IdentityClient) -> None:
        self._keys = keys
        self._identities = identities
        self._lock = threading.Lock()
        self._handles: dict[str, str] = {}

    def sign(self, module_id: str, data: bytes) -> bytes:
        """Return HMAC-SHA256 of the data under the module's key."""
        with self._lock:
            handle = self._handles.get(module_id)
        if handle is not None:
            try:
                return self._keys.sign_hmac(handle, data)
            except ApiError:
                self.forget(module_id)  # made before keyd's keys were replaced
        handle = self._identities.module(module_id).key_handle
        if handle is None:
            raise TypeError(f"identityd gave no key for module {module_id!r}")
        with self._lock:
            self._handles[module_id] = handle
        return self._keys.sign_hmac(handle, data)

    def forget(self, module_id: str) -> None:
        """Ask for the module's key anew: its identity was changed or removed."""
        with self._lock:
            self._handles.pop(module_id, None)

    def encrypt(self, module_id: str, generation: str, iv: bytes, plaintext: bytes) -> bytes:
        handle = self._keys.create_key(MASTER_KEY)
        return self._keys.encrypt(handle, iv, (module_id + generation).encode(), plaintext)

    def decrypt(self, module_id: str, generation: str, iv: bytes, ciphertext: bytes) -> bytes:
        handle = self._keys.create_key(MASTER_KEY)
        return self._keys.decrypt(handle, iv, (module_id + generation).encode(), ciphertext)
