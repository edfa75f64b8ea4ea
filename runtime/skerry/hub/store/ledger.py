"""The message ledger: what became of every message, in one row for each batch.

Row: `events` is a JSON list of what one transaction did, `first` and `last` the ids between which
all of it lies. Ids are made in order and batches are short, so that few rows are looked into.

    ["in", at, [[id, source, waited_ms, [queue, …]], …]]     stored (in no queue: no route)
    ["out", at, queue, "moved" | "delivered" | "dropped", reason, [id, …]]
    ["to", at, queue, [id, …]]                               moved there

As UTF-8; longer ones compressed, since ids that follow each other take little room then.

Invariants
- A row is written in the transaction that it tells of.
- The oldest rows go first, by size and by age; counters (`totals`) do not depend on them.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from skerry.hub.store.model import Dropped, Event, Trace
from skerry.hub.store.totals import DROPPED

Queues = Mapping[int, tuple[str, int]]
"""Queue number -> endpoint and priority."""

_encode = json.JSONEncoder(separators=(",", ":")).encode
_ROW_BYTES = 64
_SIZE = f"ifnull(sum(length(events) + {_ROW_BYTES}), 0)"
_TRIM_ROWS = 256
_SLACK = 64  # a part so great of what is kept may be too much before it is trimmed
_COMPRESS_FROM = 400
_FIND = """
    SELECT events FROM ledger WHERE first <= ?1 AND last >= ?1 ORDER BY number
"""
_INSERT = "INSERT INTO ledger (age, first, last, events) VALUES (?, ?, ?, ?)"
_OLDEST = f"SELECT number, age, length(events) + {_ROW_BYTES} FROM ledger ORDER BY number LIMIT ?"  # noqa: S608


class Ledger:
    """Writes rows, and keeps them within `max_bytes` and `max_seconds`; on the store's thread."""

    def __init__(self, max_bytes: int, max_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._bytes = self._settled = 0

    def measure(self, connection: sqlite3.Connection) -> None:
        """Find out how much there is."""
        self._bytes = connection.execute(f"SELECT {_SIZE} FROM ledger").fetchone()[0]  # noqa: S608
        self._settled = self._bytes

    def settle(self, *, committed: bool) -> None:
        """Note how the transaction ended."""
        if committed:
            self._settled = self._bytes
        else:
            self._bytes = self._settled

    def write(
        self, connection: sqlite3.Connection, age: float, ids: Sequence[str], event: object
    ) -> None:
        """Add a row about these messages."""
        data = _pack(event)
        connection.execute(_INSERT, (int(age), min(ids), max(ids), data))
        self._bytes += len(data) + _ROW_BYTES
        if self._bytes > self._max_bytes + self._max_bytes // _SLACK:
            self.trim(connection, age)

    def trim(self, connection: sqlite3.Connection, age: float) -> None:
        """Remove what is too old or too much."""
        rows = connection.execute(_OLDEST, (_TRIM_ROWS,)).fetchall()
        spare, last = self._bytes - self._max_bytes, None
        for number, row_age, size in rows:
            if spare <= 0 and age - row_age < self._max_seconds:
                break
            last, spare = number, spare - size
            self._bytes -= size
        if last is not None:
            connection.execute("DELETE FROM ledger WHERE number <= ?", (last,))


def came_in(at: float, messages: Sequence[tuple[str, str, float, Sequence[int]]]) -> object:
    """Return the event of messages received and stored."""
    rows = [(one, source, round((at - came) * 1000), to) for one, source, came, to in messages]
    return ["in", at, rows]


def went_out(at: float, queue: int, outcome: str, reason: str, ids: Sequence[str]) -> object:
    """Return the event of entries that left a queue."""
    return ["out", at, queue, outcome, reason, ids]


def moved_to(at: float, queue: int, ids: Sequence[str]) -> object:
    """Return the event of entries that another queue gave up to this one."""
    return ["to", at, queue, ids]


def trace(connection: sqlite3.Connection, message_id: str, queues: Queues) -> Trace | None:
    """Return what the ledger knows of a message; None when nothing (any more)."""
    rows = connection.execute(_FIND, (message_id,))
    source, found = "", list[Event]()
    for (data,) in rows:
        try:
            kind, at, *rest = _unpack(data)
        except (ValueError, TypeError, zlib.error):
            continue  # damaged on disk
        if kind == "in":
            for one, sender, waited_ms, numbers in rest[0]:
                if one == message_id:
                    source = sender
                    found += _entrance(at, at - waited_ms / 1000, numbers, queues)
        elif kind == "to":
            if message_id in rest[1]:
                found.append(Event(at, "stored", *queues.get(rest[0], ("", None))))
        elif message_id in rest[3]:
            endpoint, priority = queues.get(rest[0], ("", None))
            found.append(Event(at, rest[1], endpoint, priority, rest[2]))
    return Trace(message_id, source, tuple(found)) if found else None


def _entrance(
    at: float, received: float, numbers: Sequence[int], queues: Queues
) -> Iterator[Event]:
    yield Event(received, "received")
    for number in numbers:
        endpoint, priority = queues.get(number, ("", None))
        yield Event(at, "stored", endpoint, priority)
    if not numbers:
        yield Event(at, DROPPED, reason=Dropped.NO_ROUTE)


def _pack(event: object) -> bytes:
    data = _encode(event).encode()
    return data if len(data) < _COMPRESS_FROM else zlib.compress(data, 1)


def _unpack(data: bytes) -> list[Any]:
    return list(json.loads(data if data[:1] == b"[" else zlib.decompress(data)))
