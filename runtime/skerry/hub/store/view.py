"""What a store holds, read from its tables; also of a store that a hub has open."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace

from skerry.hub.store import ledger
from skerry.hub.store.model import QueueState, Trace
from skerry.hub.store.rows import Waiting, first_of, queue_of, read_whole
from skerry.hub.store.totals import load_totals

_PEEK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Total:
    """A counter. Without an endpoint: of messages, whatever their queues."""

    endpoint: str
    priority: int | None
    outcome: str
    reason: str
    count: int
    bytes: int


def names(connection: sqlite3.Connection) -> dict[int, tuple[str, int]]:
    """Return endpoint and priority of each queue, by number."""
    return {row[0]: (row[1], row[2]) for row in connection.execute("SELECT * FROM queue")}


def queues(connection: sqlite3.Connection) -> dict[int, QueueState]:
    """Return queues by number, in the order of endpoint and priority, as nobody used them now."""
    waiting = load_totals(connection.execute("SELECT * FROM total")).waiting()
    found = sorted(names(connection).items(), key=lambda item: item[1])
    states = {}
    for number, (endpoint, priority) in found:
        length, size = waiting.get(number, (0, 0))
        oldest = connection.execute(
            "SELECT received FROM entry WHERE number >= ? AND number < ? ORDER BY number LIMIT 1",
            (first_of(number), first_of(number + 1)),
        ).fetchone()
        states[number] = QueueState(
            endpoint, priority, length, size, 0, oldest[0] if oldest else None, 0.0, 0.0, None
        )
    return states


def live(
    state: QueueState, in_flight: int, came: float, went: float, full: float | None
) -> QueueState:
    """Return a queue with what only the running hub knows."""
    return replace(state, in_flight=in_flight, in_rate=came, out_rate=went, full_in_seconds=full)


def is_of(position: int, queue: int) -> bool:
    """Return whether a position is one of a queue."""
    return queue_of(position) == queue


def totals(connection: sqlite3.Connection) -> list[Total]:
    """Return every counter."""
    known = names(connection)
    nowhere: tuple[str, int | None] = ("", None)
    return [
        Total(*known.get(number, nowhere), outcome, reason, count, size)
        for number, outcome, reason, count, size in connection.execute("SELECT * FROM total")
    ]


def peek(connection: sqlite3.Connection, endpoint: str, limit: int) -> Iterator[Waiting]:
    """Yield the first entries of an endpoint, the most urgent queue first."""
    known = sorted((at[1], number) for number, at in names(connection).items() if at[0] == endpoint)
    for _, number in known:
        if limit > 0:
            last = first_of(number + 1) - 1
            found = read_whole(connection, first_of(number), last, limit, _PEEK_BYTES)
            limit -= len(found)
            yield from found


def trace(connection: sqlite3.Connection, message_id: str) -> Trace | None:
    """Return what the ledger knows of a message."""
    return ledger.trace(connection, message_id, names(connection))


def meta(connection: sqlite3.Connection, key: str) -> str | None:
    """Return a fact about the store itself."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Keep a fact about the store itself."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
