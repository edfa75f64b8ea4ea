"""Who can seal a secret: a key in keyd, or the TPM.

The TPM takes 128 bytes at most, so it seals a key of the secret's own, which encrypts the value:

    u32 length ‖ key, as tpmd sealed it ‖ 12 bytes nonce ‖ AES-256-GCM of the value

What is sealed for one name opens for no other.
"""

import secrets
import struct
from typing import Protocol

from skerry.base.client import ApiError, UnreachableError
from skerry.keys.client import KeysClient
from skerry.tpm.client import TpmClient
from skerry.workloads.errors import SecretError
from skerry.workloads.keyring import MASTER_KEY

SECURE_BOOT = (7,)
"""The PCRs that a secret is bound to: another kernel is no reason to lose it, another owner is."""

_KEY_BYTES, _NONCE_BYTES = 32, 12
_IV = b"skerry-secret"


class Sealer(Protocol):
    """Seals values; raises SecretError when it cannot."""

    def seal(self, name: str, value: bytes) -> bytes: ...

    def unseal(self, name: str, sealed: bytes) -> bytes: ...


class KeydSealer:
    """Encrypts under the device's master key, which keyd never gives away."""

    def __init__(self, keys: KeysClient) -> None:
        self._keys = keys

    def seal(self, name: str, value: bytes) -> bytes:
        try:
            return self._keys.encrypt(self._keys.create_key(MASTER_KEY), _IV, _bound(name), value)
        except (ApiError, UnreachableError) as error:
            raise SecretError(f"secret {name!r} cannot be sealed by keyd: {error}") from error

    def unseal(self, name: str, sealed: bytes) -> bytes:
        try:
            return self._keys.decrypt(self._keys.create_key(MASTER_KEY), _IV, _bound(name), sealed)
        except (ApiError, UnreachableError) as error:
            raise SecretError(f"secret {name!r} cannot be opened by keyd: {error}") from error


class TpmSealer:
    """Encrypts under a key that the TPM gives back only while secure boot is as it was."""

    def __init__(self, tpm: TpmClient) -> None:
        self._tpm = tpm

    def seal(self, name: str, value: bytes) -> bytes:
        key, nonce = secrets.token_bytes(_KEY_BYTES), secrets.token_bytes(_NONCE_BYTES)
        try:
            sealed = self._tpm.seal(key, SECURE_BOOT)
        except (ApiError, UnreachableError) as error:
            raise SecretError(f"secret {name!r} cannot be sealed by the TPM: {error}") from error
        # loaded by the few devices that use it
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        content = AESGCM(key).encrypt(nonce, value, _bound(name))
        return struct.pack(">I", len(sealed)) + sealed + nonce + content

    def unseal(self, name: str, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        size = int.from_bytes(sealed[:4]) + 4
        nonce, content = sealed[size : size + _NONCE_BYTES], sealed[size + _NONCE_BYTES :]
        try:
            return AESGCM(self._tpm.unseal(sealed[4:size])).decrypt(nonce, content, _bound(name))
        except (ApiError, UnreachableError) as error:
            raise SecretError(f"secret {name!r} cannot be opened by the TPM: {error}") from error
        except (InvalidTag, ValueError) as error:
            raise SecretError(f"secret {name!r} is damaged; give it again") from error


def _bound(name: str) -> bytes:
    # no module's own data can have this in front: the name of a module holds no NUL
    return b"\0skerry-secret\0" + name.encode("ascii")
