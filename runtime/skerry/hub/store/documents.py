"""Small documents beside the messages: twins, the cached scope. Bytes, by kind and key.

Invariants
- They are on disk at every level of durability, in the order in which they were put.
- After `use_key` they are encrypted there, bound to kind and key: AES-256-GCM, `0x01`, a nonce of
  12 random bytes, ciphertext and tag. One that cannot be decrypted is named in the log and counts
  as absent, so that it is fetched anew.
"""

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skerry.base.log import Logger
from skerry.hub.store.change import Change

KEY_BYTES = 32
_FORM = b"\x01"
_NONCE_BYTES = 12

Submit = Callable[[Callable[[Change], object]], "Future[object]"]
Reading = Callable[[], AbstractContextManager[sqlite3.Connection]]


class Documents:
    """Reads what is committed; writes are done when their future is."""

    def __init__(
        self,
        reading: Reading,
        submit: Submit,
        log: Logger,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._reading = reading
        self._submit = submit
        self._log = log
        self._random = random
        self._cipher: AESGCM | None = None

    def use_key(self, key: bytes) -> None:
        """Encrypt from now on; what is there in the clear is not read any more."""
        self._cipher = AESGCM(key)

    def get(self, kind: str, key: str) -> bytes | None:
        """Return a document, None when there is none."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT value FROM document WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return None if row is None else self._opened(kind, key, bytes(row[0]))

    def all(self, kind: str) -> dict[str, bytes]:
        """Return all documents of a kind by their keys."""
        with self._reading() as connection:
            rows = connection.execute("SELECT key, value FROM document WHERE kind = ?", (kind,))
            found = {key: self._opened(kind, key, bytes(value)) for key, value in rows}
        return {key: value for key, value in found.items() if value is not None}

    def put(self, kind: str, key: str, value: bytes) -> "Future[object]":
        """Store a document in the place of the former one."""
        kept = self._sealed(kind, key, value)
        return self._submit(
            lambda change: change.connection.execute(
                "INSERT OR REPLACE INTO document VALUES (?, ?, ?)", (kind, key, kept)
            ).close()
        )

    def delete(self, kind: str, key: str) -> "Future[object]":
        """Remove a document, if there is one."""
        return self._submit(
            lambda change: change.connection.execute(
                "DELETE FROM document WHERE kind = ? AND key = ?", (kind, key)
            ).close()
        )

    def _sealed(self, kind: str, key: str, value: bytes) -> bytes:
        if self._cipher is None:
            return value
        nonce = self._random(_NONCE_BYTES)
        return _FORM + nonce + self._cipher.encrypt(nonce, value, _bound(kind, key))

    def _opened(self, kind: str, key: str, kept: bytes) -> bytes | None:
        if self._cipher is None:
            return kept
        nonce, sealed = kept[1 : 1 + _NONCE_BYTES], kept[1 + _NONCE_BYTES :]
        try:
            if kept[:1] == _FORM and len(nonce) == _NONCE_BYTES:
                return self._cipher.decrypt(nonce, sealed, _bound(kind, key))
        except InvalidTag:
            pass  # told below
        self._log.error("a kept document is damaged; it is fetched anew", kind=kind, name=key)
        return None


def _bound(kind: str, key: str) -> bytes:
    return f"{kind}\n{key}".encode()
