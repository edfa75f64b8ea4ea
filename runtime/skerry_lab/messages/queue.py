"""What waits for devices, a row a message, in the order it was sent.

A message is free, or locked by a token until a time. It ends by being deleted, once, and that is
the caller's to decide; with its device or module it goes as well.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from skerry.wire.identity import Identity
from skerry_lab.messages.model import Ack, encode

SCHEMA = (
    """
    CREATE TABLE c2d (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        device_id TEXT NOT NULL REFERENCES device ON DELETE CASCADE, module_id TEXT,
        message_id TEXT NOT NULL, ack TEXT NOT NULL, system TEXT NOT NULL,
        properties TEXT NOT NULL, body BLOB NOT NULL,
        enqueued INTEGER NOT NULL, expires INTEGER NOT NULL,
        deliveries INTEGER NOT NULL DEFAULT 0, lock_token TEXT UNIQUE, locked_until INTEGER,
        FOREIGN KEY (device_id, module_id) REFERENCES module ON DELETE CASCADE
    );
    CREATE INDEX c2d_identity ON c2d (device_id, module_id);
    CREATE INDEX c2d_expires ON c2d (expires);
    CREATE INDEX c2d_locked ON c2d (locked_until) WHERE locked_until IS NOT NULL
    """,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_OF = "device_id = ? AND module_id IS ?"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message as it is stored; `number` 0 is not stored yet."""

    number: int
    identity: Identity
    message_id: str
    ack: Ack
    system: dict[str, str]
    properties: dict[str, str]
    body: bytes
    enqueued: datetime
    expires: datetime
    deliveries: int = 0
    lock_token: str | None = None
    locked_until: datetime | None = None


class Queue:
    """Reads and writes messages to devices. Every method runs on the database's thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, message: Waiting) -> int:
        """Insert a message that is free; returns its number."""
        done = self._connection.execute(
            "INSERT INTO c2d (device_id, module_id, message_id, ack, system, properties, body, "
            "enqueued, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message.identity.device_id, message.identity.module_id, message.message_id,
                message.ack.value, encode(message.system), encode(message.properties),
                message.body, to_number(message.enqueued), to_number(message.expires),
            ),
        )  # fmt: skip
        return done.lastrowid or 0

    def depth(self, identity: Identity) -> int:
        """Return how many messages have not ended."""
        row = self._connection.execute(f"SELECT count(*) FROM c2d WHERE {_OF}", _ids(identity))  # noqa: S608
        return int(row.fetchone()[0])

    def free(self, identity: Identity, limit: int) -> list[Waiting]:
        """Return messages that are not locked, the oldest first."""
        return self._select(
            f"{_OF} AND lock_token IS NULL ORDER BY number LIMIT ?", (*_ids(identity), limit)
        )

    def locked(self, identity: Identity) -> list[Waiting]:
        """Return messages that are locked."""
        return self._select(f"{_OF} AND lock_token IS NOT NULL ORDER BY number", _ids(identity))

    def all(self, identity: Identity) -> list[Waiting]:
        """Return all messages, the oldest first."""
        return self._select(f"{_OF} ORDER BY number", _ids(identity))

    def by_token(self, identity: Identity, lock_token: str) -> Waiting | None:
        """Return the message that a token locks, also when its time is over."""
        found = self._select(f"{_OF} AND lock_token = ?", (*_ids(identity), lock_token))
        return found[0] if found else None

    def due(self, now: datetime, identity: Identity | None = None) -> list[Waiting]:
        """Return messages whose lock has ended, and free ones that have expired."""
        at = to_number(now)
        where = "(locked_until <= ? OR expires <= ? AND lock_token IS NULL)"
        if identity is None:
            return self._select(f"{where} ORDER BY number", (at, at))
        return self._select(f"{_OF} AND {where} ORDER BY number", (*_ids(identity), at, at))

    def lock(self, message: Waiting, lock_token: str, until: datetime) -> None:
        """Lock a message, which counts as a delivery."""
        self._connection.execute(
            "UPDATE c2d SET lock_token = ?, locked_until = ?, deliveries = deliveries + 1 "
            "WHERE number = ?",
            (lock_token, to_number(until), message.number),
        )

    def unlock(self, message: Waiting) -> None:
        """Let a message be delivered again, in its old place."""
        self._connection.execute(
            "UPDATE c2d SET lock_token = NULL, locked_until = NULL WHERE number = ?",
            (message.number,),
        )

    def delete(self, messages: Iterable[Waiting]) -> None:
        """Remove messages that have ended."""
        numbers = [(message.number,) for message in messages]
        self._connection.executemany("DELETE FROM c2d WHERE number = ?", numbers)

    def _select(self, where: str, values: Sequence[object]) -> list[Waiting]:
        rows = self._connection.execute(f"SELECT * FROM c2d WHERE {where}", values)  # noqa: S608
        return [_waiting(row) for row in rows]


def to_number(time: datetime) -> int:
    """Return a time as it is stored, in milliseconds."""
    return (time - _EPOCH) // _MILLISECOND


def to_time(number: int) -> datetime:
    """Return a stored time."""
    return _EPOCH + number * _MILLISECOND


def _ids(identity: Identity) -> tuple[str, str | None]:
    return identity.device_id, identity.module_id


def _waiting(row: sqlite3.Row) -> Waiting:
    return Waiting(
        number=row["number"],
        identity=Identity(row["device_id"], row["module_id"]),
        message_id=row["message_id"],
        ack=Ack(row["ack"]),
        system=json.loads(row["system"]),
        properties=json.loads(row["properties"]),
        body=row["body"],
        enqueued=to_time(row["enqueued"]),
        expires=to_time(row["expires"]),
        deliveries=row["deliveries"],
        lock_token=row["lock_token"],
        locked_until=None if row["locked_until"] is None else to_time(row["locked_until"]),
    )
