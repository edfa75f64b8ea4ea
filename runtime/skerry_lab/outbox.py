"""What connected clients have to be told: notices, stored with the change that caused them.

A notice is a row of the transaction that makes the change, so that it is told if and only if the
change holds, also when another process made it (a verb beside the running server). The server reads
them in order; what was there before it started concerned nobody who is connected.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from skerry.wire.identity import Identity

SCHEMA = (
    """
    CREATE TABLE notice (
        number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, identity TEXT NOT NULL,
        data TEXT NOT NULL
    )
    """,
)

_KEPT_READ = 1000
_PAGE = 500


class Kind(StrEnum):
    """What has changed: desired properties, messages that wait, or the identity itself."""

    DESIRED = "desired"
    C2D = "c2d"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class Notice:
    """`data` of `desired` is `{"version": n, "patch": {…}}`, else empty."""

    kind: Kind
    identity: Identity
    data: Mapping[str, object] = field(default_factory=dict)


class Outbox:
    """The table of notices. To be used on the database's thread; `has_news` anywhere."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._read = self._newest()
        self.has_news = False
        """Whether this process may have put something that it has not read."""

    def put(self, notice: Notice) -> None:
        """Store a notice with the change that is being made."""
        self._connection.execute(
            "INSERT INTO notice (kind, identity, data) VALUES (?, ?, ?)",
            (notice.kind.value, str(notice.identity), json.dumps(notice.data)),
        )
        self.has_news = True

    def take(self) -> list[Notice]:
        """Return what is new since the last time, oldest first; at most a page of it."""
        self.has_news = False
        rows = self._connection.execute(
            "SELECT * FROM notice WHERE number > ? ORDER BY number LIMIT ?", (self._read, _PAGE)
        ).fetchall()
        if rows:
            self._read = rows[-1]["number"]
            self.has_news = len(rows) == _PAGE
            self._forget()
        return [_notice(row) for row in rows]

    def _forget(self) -> None:
        # In steps, so that not every notice costs a write of its own.
        oldest = self._connection.execute("SELECT min(number) FROM notice").fetchone()[0]
        if self._read - oldest >= _KEPT_READ:
            self._connection.execute("DELETE FROM notice WHERE number <= ?", (self._read,))

    def _newest(self) -> int:
        row = self._connection.execute("SELECT max(number) FROM notice").fetchone()
        return row[0] or 0


def _notice(row: sqlite3.Row) -> Notice:
    return Notice(Kind(row["kind"]), Identity.parse(row["identity"]), json.loads(row["data"]))
