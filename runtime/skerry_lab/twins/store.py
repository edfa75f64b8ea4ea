"""The table of twins. Every method runs on the database's thread, inside its transaction.

A row is made by the first change; who has none has an empty twin. The rows of a device or module
go with it.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping

from skerry.wire.identity import Identity
from skerry_lab.twins.model import Part, Twin

SCHEMA = (
    """
    CREATE TABLE twin (
        device_id TEXT NOT NULL, module_id TEXT NOT NULL, version INTEGER NOT NULL,
        tags TEXT NOT NULL,
        desired TEXT NOT NULL, desired_metadata TEXT NOT NULL, desired_version INTEGER NOT NULL,
        reported TEXT NOT NULL, reported_metadata TEXT NOT NULL, reported_version INTEGER NOT NULL,
        PRIMARY KEY (device_id, module_id)
    ) WITHOUT ROWID
    """,
)


class TwinStore:
    """Reads and writes twins; a device's module id is the empty text."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, identity: Identity) -> Twin:
        """Return the twin of an identity that exists."""
        row = self._connection.execute(
            "SELECT * FROM twin WHERE device_id = ? AND module_id = ?", _key(identity)
        ).fetchone()
        return Twin() if row is None else _twin(row)

    def put(self, identity: Identity, twin: Twin) -> None:
        """Insert or replace."""
        values = (
            *_key(identity), twin.version, _dump(twin.tags),
            *_columns(twin.desired), *_columns(twin.reported),
        )  # fmt: skip
        self._connection.execute(
            "INSERT OR REPLACE INTO twin VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values
        )

    def delete(self, identity: Identity) -> None:
        """Forget a twin, a device's with those of its modules."""
        if identity.module_id is None:
            self._connection.execute("DELETE FROM twin WHERE device_id = ?", (identity.device_id,))
        else:
            self._connection.execute(
                "DELETE FROM twin WHERE device_id = ? AND module_id = ?", _key(identity)
            )

    def between(self, after: Identity, last: Identity) -> Iterator[tuple[Identity, Twin]]:
        """Yield the twins that were ever changed, from behind one identity up to another one.

        Of devices if that is one, else of modules.
        """
        rows = self._connection.execute(
            "SELECT * FROM twin WHERE (device_id, module_id) > (?, ?) "
            "AND (device_id, module_id) <= (?, ?) AND (module_id <> '') = ?",
            (*_key(after), *_key(last), last.module_id is not None),
        )
        for row in rows:
            yield Identity(row["device_id"], row["module_id"] or None), _twin(row)

    def all(self) -> Iterator[tuple[Identity, Twin]]:
        """Yield the twins that were ever changed, by device and module."""
        rows = self._connection.execute("SELECT * FROM twin ORDER BY device_id, module_id")
        for row in rows:
            yield Identity(row["device_id"], row["module_id"] or None), _twin(row)


def _key(identity: Identity) -> tuple[str, str]:
    return identity.device_id, identity.module_id or ""


def _columns(part: Part) -> tuple[str, str, int]:
    return _dump(part.properties), _dump(part.metadata), part.version


def _dump(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _twin(row: sqlite3.Row) -> Twin:
    def part(name: str) -> Part:
        return Part(
            json.loads(row[name]), json.loads(row[f"{name}_metadata"]), row[f"{name}_version"]
        )

    return Twin(json.loads(row["tags"]), part("desired"), part("reported"), row["version"])
