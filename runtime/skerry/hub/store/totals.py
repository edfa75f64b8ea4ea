"""Counters of the store: one for each queue, outcome and reason, kept with what they count.

Invariants
- They change in the transaction that changes the rows, so that they are right after any crash:
  what a queue has `stored` less what was `moved`, `delivered` and `dropped` is what waits in it.
- Queue 0 is no queue: `received` counts messages, `dropped` those without a route, `shared` what
  sharing saves now.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

Key = tuple[int, str, str]

RECEIVED, STORED, MOVED, DELIVERED, DROPPED, SHARED = (
    "received", "stored", "moved", "delivered", "dropped", "shared",
)  # fmt: skip
NO_QUEUE = 0

_ENDED = (MOVED, DELIVERED, DROPPED)
_ADD = """
    INSERT INTO total VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    count = count + excluded.count, bytes = bytes + excluded.bytes
"""


@dataclass
class Totals:
    """Count and bytes of each key."""

    counts: dict[Key, int] = field(default_factory=dict)
    sizes: dict[Key, int] = field(default_factory=dict)

    def add(self, queue: int, outcome: str, count: int, size: int, reason: str = "") -> None:
        """Count something."""
        key = (queue, outcome, reason)
        self.counts[key] = self.counts.get(key, 0) + count
        self.sizes[key] = self.sizes.get(key, 0) + size

    def merge(self, other: "Totals") -> None:
        """Count what another one counted."""
        for key, count in other.counts.items():
            self.add(key[0], key[1], count, other.sizes[key], key[2])

    def save(self, connection: sqlite3.Connection) -> None:
        """Add to the counters of the database."""
        for (queue, outcome, reason), count in self.counts.items():
            size = self.sizes[queue, outcome, reason]
            connection.execute(_ADD, (queue, outcome, reason, count, size))

    def flows(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return how many entries came into each queue, and how many left it."""
        came: dict[int, int] = {}
        went: dict[int, int] = {}
        for (queue, outcome, _), count in list(self.counts.items()):
            into = came if outcome == STORED else went if outcome in _ENDED else {}
            into[queue] = into.get(queue, 0) + count
        return came, went

    def waiting(self) -> dict[int, tuple[int, int]]:
        """Return how many entries wait in each queue, and their bytes."""
        found: dict[int, tuple[int, int]] = {}
        for key, count in list(self.counts.items()):
            queue, outcome, _ = key
            sign = 1 if outcome == STORED else -1 if outcome in _ENDED else 0
            number, size = found.get(queue, (0, 0))
            found[queue] = number + sign * count, size + sign * self.sizes[key]
        return found

    def held_bytes(self) -> int:
        """Return the bytes of all that waits, each message once."""
        signs = {STORED: 1, MOVED: -1, DELIVERED: -1, SHARED: -1}
        return sum(
            size * (signs.get(outcome, 0) if outcome != DROPPED else -1 if queue else 0)
            for (queue, outcome, _), size in self.sizes.items()
        )


def load_totals(rows: Iterable[tuple[int, str, str, int, int]]) -> Totals:
    """Return counters from rows of the table."""
    totals = Totals()
    for queue, outcome, reason, count, size in rows:
        totals.add(queue, outcome, count, size, reason)
    return totals
