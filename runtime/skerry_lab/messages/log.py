"""What devices sent, in one row a message: the log that the event stream reads.

Invariants
- `number` grows by one a message and is never used again: the newest row is never trimmed.
- `total` is the sum of the sizes of all messages before this one since the log began, so that what
  the log holds in bytes is the difference of its ends, and trimming needs no count.
- The log is trimmed as it grows: a batch pushes out about as much as it brings.
- Whoever sent a message is noted as the registry knew it when the message came.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from skerry.heads.model import Telemetry
from skerry.wire.identity import Identity
from skerry_lab.messages.model import Event, MessageSettings, encode

SCHEMA = (
    """
    CREATE TABLE telemetry (
        number INTEGER PRIMARY KEY, enqueued INTEGER NOT NULL, total INTEGER NOT NULL,
        device_id TEXT NOT NULL, module_id TEXT, origin TEXT, properties TEXT NOT NULL,
        body BLOB NOT NULL
    )
    """,
)

_ROW_BYTES = 96
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INSERT = """
    INSERT INTO telemetry (enqueued, total, device_id, module_id, origin, properties, body)
    VALUES (?1, ?2, ?3, ?4, CASE WHEN ?4 IS NULL
        THEN (SELECT generation_id || ' ' || auth_type FROM device WHERE device_id = ?3)
        ELSE (SELECT generation_id || ' ' || auth_type FROM module
              WHERE device_id = ?3 AND module_id = ?4) END, ?5, ?6)
"""
_LAST = f"""
    SELECT number, total + {_ROW_BYTES} + length(body) + length(properties) AS size
    FROM telemetry ORDER BY number DESC LIMIT 1
"""  # noqa: S608 - a constant
_READ = "SELECT * FROM telemetry WHERE number > ? AND number <= ? ORDER BY number"


class EventLog:
    """Appends, reads and trims. Every method runs on the database's thread."""

    def __init__(self, connection: sqlite3.Connection, settings: MessageSettings) -> None:
        self._connection = connection
        self._settings = settings

    def append(self, batch: Sequence[Telemetry], now: datetime) -> None:
        """Store messages in their order."""
        if not batch:
            return
        enqueued = (now - _EPOCH) // _MICROSECOND
        newest, total = self._newest()
        rows = []
        for each in batch:
            bag = encode((each.system, each.properties)) if each.system or each.properties else ""
            who = each.identity
            rows.append((enqueued, total, who.device_id, who.module_id, bag, each.body))
            total += _ROW_BYTES + len(each.body) + len(bag)
        self._connection.executemany(_INSERT, rows)
        self._trim(newest + len(rows), total)

    def ends(self) -> tuple[int, int]:
        """Return the offsets of the oldest and the newest message, (1, 0) of an empty log."""
        return self._oldest()[0], self._newest()[0]

    def read(self, after: int, limit: int, max_bytes: int) -> Iterator[Event]:
        """Yield messages behind an offset, at most `limit`, until they have `max_bytes`."""
        size = 0
        for row in self._connection.execute(_READ, (after, after + limit)):
            yield _event(row)
            size += len(row["body"])
            if size >= max_bytes:
                return

    def _oldest(self) -> tuple[int, int]:
        row = self._connection.execute(
            "SELECT number, total FROM telemetry ORDER BY number LIMIT 1"
        ).fetchone()
        return (1, 0) if row is None else (row["number"], row["total"])

    def _newest(self) -> tuple[int, int]:
        """Return the last offset, and the size of all messages since the log began."""
        row = self._connection.execute(_LAST).fetchone()
        return (0, 0) if row is None else (row["number"], row["size"])

    def _trim(self, newest: int, total: int) -> None:
        oldest, before = self._oldest()
        first = newest - self._settings.keep_messages + 1
        limit = total - self._settings.keep_bytes
        if before < limit:
            row = self._connection.execute(
                "SELECT number FROM telemetry WHERE total >= ? ORDER BY number LIMIT 1", (limit,)
            ).fetchone()
            first = newest if row is None else max(first, row["number"])
        if first > oldest:
            last = min(first, newest)
            self._connection.execute("DELETE FROM telemetry WHERE number < ?", (last,))


def _event(row: sqlite3.Row) -> Event:
    system, properties = json.loads(row["properties"]) if row["properties"] else ({}, {})
    generation_id, _, auth_type = (row["origin"] or "").partition(" ")
    identity = Identity(row["device_id"], row["module_id"])
    telemetry = Telemetry(identity, system, properties, row["body"])
    enqueued = _EPOCH + row["enqueued"] * _MICROSECOND
    return Event(row["number"], enqueued, telemetry, generation_id, auth_type)
