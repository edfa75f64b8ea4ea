"""Small documents beside the messages: twins, the cached scope. Bytes, by kind and key.

They are on disk at every level of durability, in the order in which they were put; the value may be
encrypted by the caller.
"""

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

from skerry.hub.store.change import Change

Submit = Callable[[Callable[[Change], object]], "Future[object]"]
Reading = Callable[[], AbstractContextManager[sqlite3.Connection]]


class Documents:
    """Reads what is committed; writes are done when their future is."""

    def __init__(self, reading: Reading, submit: Submit) -> None:
        self._reading = reading
        self._submit = submit

    def get(self, kind: str, key: str) -> bytes | None:
        """Return a document, None when there is none."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT value FROM document WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def all(self, kind: str) -> dict[str, bytes]:
        """Return all documents of a kind by their keys."""
        with self._reading() as connection:
            rows = connection.execute("SELECT key, value FROM document WHERE kind = ?", (kind,))
            return {key: bytes(value) for key, value in rows}

    def put(self, kind: str, key: str, value: bytes) -> "Future[object]":
        """Store a document in the place of the former one."""
        return self._submit(
            lambda change: change.connection.execute(
                "INSERT OR REPLACE INTO document VALUES (?, ?, ?)", (kind, key, value)
            ).close()
        )

    def delete(self, kind: str, key: str) -> "Future[object]":
        """Remove a document, if there is one."""
        return self._submit(
            lambda change: change.connection.execute(
                "DELETE FROM document WHERE kind = ? AND key = ?", (kind, key)
            ).close()
        )
