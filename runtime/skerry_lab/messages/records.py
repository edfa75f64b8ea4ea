"""What services are told: feedback on messages to devices, and files that were uploaded.

Two queues of records. A reader gets some of the oldest under one lock token and deletes or abandons
them by it; a record is given out ten times at most and lasts for an hour, as with IoT Hub.
"""

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from skerry_lab.messages.model import LOCK_SECONDS, MAX_DELIVERIES, encode
from skerry_lab.messages.queue import to_number

SCHEMA = (
    """
    CREATE TABLE service_record (
        number INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, record TEXT NOT NULL,
        enqueued INTEGER NOT NULL, deliveries INTEGER NOT NULL DEFAULT 0,
        lock_token TEXT, locked_until INTEGER
    );
    CREATE INDEX service_record_queue ON service_record (queue, number)
    """,
)

_TTL = timedelta(hours=1)
_MAX_RECORDS = 10_000


class RecordQueue(StrEnum):
    """Whose records."""

    FEEDBACK = "feedback"
    FILES = "files"


class Records:
    """Both queues. Every method runs on the database's thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, queue: RecordQueue, record: Mapping[str, object], now: datetime) -> None:
        """Add a record; beyond the most there may be the oldest goes."""
        done = self._connection.execute(
            "INSERT INTO service_record (queue, record, enqueued) VALUES (?, ?, ?)",
            (queue.value, encode(record), to_number(now)),
        )
        self._connection.execute(
            "DELETE FROM service_record WHERE number <= ?", ((done.lastrowid or 0) - _MAX_RECORDS,)
        )

    def take(
        self, queue: RecordQueue, limit: int, lock_token: str, now: datetime
    ) -> list[dict[str, object]]:
        """Return the oldest free records, now locked by the token."""
        self.forget(now)
        rows = self._connection.execute(
            "SELECT number, record FROM service_record WHERE queue = ? "
            "AND (locked_until IS NULL OR locked_until <= ?) ORDER BY number LIMIT ?",
            (queue.value, to_number(now), limit),
        ).fetchall()
        until = to_number(now + timedelta(seconds=LOCK_SECONDS))
        self._connection.executemany(
            "UPDATE service_record SET lock_token = ?, locked_until = ?, "
            "deliveries = deliveries + 1 WHERE number = ?",
            [(lock_token, until, row["number"]) for row in rows],
        )
        return [json.loads(row["record"]) for row in rows]

    def delete(self, queue: RecordQueue, lock_token: str, now: datetime) -> bool:
        """Remove what a token locks; False when it locks nothing (any more)."""
        done = self._connection.execute(
            "DELETE FROM service_record WHERE queue = ? AND lock_token = ? AND locked_until > ?",
            (queue.value, lock_token, to_number(now)),
        )
        return done.rowcount > 0

    def abandon(self, queue: RecordQueue, lock_token: str, now: datetime) -> bool:
        """Give back what a token locks; False when it locks nothing (any more)."""
        done = self._connection.execute(
            "UPDATE service_record SET lock_token = NULL, locked_until = NULL "
            "WHERE queue = ? AND lock_token = ? AND locked_until > ?",
            (queue.value, lock_token, to_number(now)),
        )
        self.forget(now)
        return done.rowcount > 0

    def forget(self, now: datetime) -> None:
        """Remove what nobody took in time, or nobody kept after so many times."""
        at = to_number(now)
        self._connection.execute(
            "DELETE FROM service_record WHERE (locked_until IS NULL OR locked_until <= ?) "
            "AND (enqueued <= ? OR deliveries >= ?)",
            (at, to_number(now - _TTL), MAX_DELIVERIES),
        )
