"""What the store's thread does unasked: expiry, trimming, giving pages back, a look at the disk."""

import sqlite3
from collections.abc import Callable

from skerry.base.log import Logger
from skerry.hub.store.age import AgeClock
from skerry.hub.store.change import Change, Parts
from skerry.hub.store.model import Dropped
from skerry.hub.store.requests import Requests
from skerry.hub.store.room import Rates, Sample
from skerry.hub.store.rows import queue_of, read_expired

_EXPIRE_ROWS = 500
_EXPIRE_AGAIN_SECONDS = 1.0
_LONGEST_SECONDS = 1.0
_VACUUM_PAGES = 256
_VACUUM_SECONDS = 1.0
_SPARE_PAGES = 2048  # kept free in the file: it will soon be used again
_TRIM_SECONDS = 600.0
_MARK_SECONDS = 300.0
_SET_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"

MARK = "age"
PAGE_BYTES = 4096  # SQLite's default


class Upkeep:
    """Knows what is due; `run` is called between transactions."""

    def __init__(self, parts: Parts, ages: AgeClock, log: Logger, requests: Requests) -> None:
        self._parts = parts
        self._ages = ages
        self._log = log
        self._requests = requests
        self.rates = Rates()
        self._next_expiry = self._next_trim = self._next_vacuum = self._next_mark = 0.0

    def wait_seconds(self) -> float:
        """Return how long nothing is due."""
        return min(max(self._next_expiry - self._ages.now(), 0.0), _LONGEST_SECONDS)

    def note_expiry(self, expires: float) -> None:
        """Something stored expires at this age."""
        self._next_expiry = min(self._next_expiry, expires)

    def run(
        self, connection: sqlite3.Connection, submit: Callable[[Callable[[Change], None]], None]
    ) -> None:
        """Do or submit what is due."""
        now = self._ages.now()
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        self._parts.room.look(now, reusable=free * PAGE_BYTES)
        if self._parts.room.is_short:
            self._parts.quarantine.make_room()
            self._parts.room.look_soon()
        if self.rates.due(now):
            self.rates.add(self.sample())
        self._requests.look(connection, submit)
        if now >= self._next_expiry:
            submit(self._expire)
        if now >= self._next_mark:
            self._next_mark = now + _MARK_SECONDS
            submit(self.save_mark)
        if now >= self._next_trim:
            self._next_trim = now + _TRIM_SECONDS
            submit(self._trim)
        if free > _SPARE_PAGES and now >= self._next_vacuum:
            self._next_vacuum = now + _VACUUM_SECONDS
            connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()

    def sample(self) -> Sample:
        """Return the counters of this moment."""
        books = self._parts.books
        return Sample(self._ages.now(), books.held, *books.totals.flows())

    def save_mark(self, change: Change) -> None:
        """Keep the age."""
        change.connection.execute(_SET_META, (MARK, self._ages.mark().dump()))

    def _trim(self, change: Change) -> None:
        self._parts.ledger.trim(change.connection, change.age)

    def _expire(self, change: Change) -> None:
        """Delete what has expired and is not handed out; find out when the next one is due."""
        age_ms = int(change.age * 1000)
        books = self._parts.books
        out = sum(len(each.leases) + len(each.ending) for each in list(books.endpoints.values()))
        found = read_expired(change.connection, age_ms, _EXPIRE_ROWS + out)
        dropped = 0
        for number in {queue_of(entry.position) for entry in found}:
            mine = [entry for entry in found if queue_of(entry.position) == number]
            dropped += len(change.drop(books.queues[number], mine, Dropped.EXPIRED))
        if dropped:
            self._log.debug("messages expired", count=dropped)
        self._next_expiry = self._following(change, len(found) > dropped, dropped >= _EXPIRE_ROWS)

    def _following(self, change: Change, kept: bool, more: bool) -> float:
        if more:
            return change.age
        age_ms = int(change.age * 1000)
        row = change.connection.execute(
            "SELECT min(expires) FROM entry WHERE expires > ?", (age_ms,)
        ).fetchone()
        following = row[0] / 1000 if row[0] is not None else float("inf")
        return min(following, change.age + _EXPIRE_AGAIN_SECONDS) if kept else following
