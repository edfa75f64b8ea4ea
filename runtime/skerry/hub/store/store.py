"""The hub's store, as the rest of the hub uses it; any thread may call any method.

Invariants
- The future of `put` is done when its messages are on disk in every queue (at the level of
  durability), and from then on `take` hands them out.
- `take` hands an entry to nobody else until it is given back; `done` ends it. A restart forgets
  what was handed out, so that delivery is at least once, in order for each queue.
- One process at a time has a folder open.
"""

import contextlib
import fcntl
import itertools
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path

from skerry.base.clock import Clock
from skerry.base.log import Logger
from skerry.hub.store import repair, view
from skerry.hub.store.age import AgeClock, Mark, boot_id
from skerry.hub.store.books import Books
from skerry.hub.store.change import Change, Parts
from skerry.hub.store.commands import Done, Items, Move, Put, Refusals, Work, resolve
from skerry.hub.store.database import LOCK, is_damage
from skerry.hub.store.desk import Desk
from skerry.hub.store.documents import Documents
from skerry.hub.store.errors import StoreBusyError, StoreError
from skerry.hub.store.ledger import Ledger
from skerry.hub.store.model import (
    Dropped,
    Entry,
    Event,
    FullPolicy,
    Outcome,
    Position,
    QueueState,
    StoreHealth,
    StoreSettings,
    Trace,
)
from skerry.hub.store.purge import Purge
from skerry.hub.store.quarantine import Quarantine, size_bytes
from skerry.hub.store.queues import Endpoint
from skerry.hub.store.requests import Requests
from skerry.hub.store.room import Room
from skerry.hub.store.rows import Waiting, queue_of
from skerry.hub.store.upkeep import MARK
from skerry.hub.store.writer import Writer

_ID_KEY = "epoch"


class Store:
    """Opened once, used by heads, routing and upstream."""

    documents: Documents

    def __init__(
        self,
        folder: Path,
        settings: StoreSettings,
        clock: Clock,
        log: Logger,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._log = log
        self._boot = boot
        self._lock: int | None = None
        self._quarantine = Quarantine(
            folder, settings.quarantine_folders, settings.quarantine_bytes, log
        )
        self._numbers = itertools.count()
        self.desk = Desk(self.queues, self.health, self.purge)

    def open(self) -> None:
        """Open the database, make it or replace it. Raises: StoreError."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self._folder / LOCK)
            self._open()
        except (OSError, sqlite3.Error) as error:
            self._unlock()
            raise StoreError(f"{self._folder} cannot be the hub's store: {error}") from error
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Finish what is queued and close; what comes later is refused."""
        self._writer.close()
        self._writer.database.close()
        self._unlock()

    def limit(self, max_bytes: int | None, policy: FullPolicy) -> None:
        """Change how much may wait, None: what the settings say; what waits already stays."""
        self._room.max_bytes = max_bytes or self._settings.max_bytes
        self._room.policy = policy

    def new_id(self) -> str:
        """Return an id for a message: later ones are greater, over restarts too."""
        return f"{self._epoch:010x}{next(self._numbers):010x}"

    def put(self, items: Items) -> "Future[Refusals]":
        """Store messages; the answer says for each why it was refused, None if it was not."""
        future: Future[Refusals] = Future()
        self.put_then(items, lambda refusals: resolve(future, refusals))
        return future

    def put_then(self, items: Items, then: Callable[[Refusals], None]) -> None:
        """Like `put`; the answer is given on the store's thread, which must not be held up."""
        self._writer.add(Put(items, then, len(items)))

    def take(self, endpoint: str, limit: int, max_bytes: int) -> list[Entry]:
        """Hand out what is next, strict priority, then order; at least one entry if any waits.

        Cheap when the messages came just now; reads the disk (about 1 ms) when they did not.
        """
        found = self._books.endpoint(endpoint)
        taken = self._taken(found, limit, max_bytes)
        while spoiled := [Position(each.position) for each in taken if each.message is None]:
            self._log.error("messages on disk are damaged", endpoint=endpoint, count=len(spoiled))
            self.done(endpoint, spoiled, Outcome.REJECTED, Dropped.CORRUPTED)
            if len(spoiled) < len(taken):
                break
            taken = self._taken(found, limit, max_bytes)
        return _entries(taken, self._ages.wall() - self._ages.now())

    def done(
        self, endpoint: str, positions: Iterable[Position], outcome: Outcome, reason: str = ""
    ) -> "Future[None]":
        """End entries that were handed out; what is not handed out is passed over."""
        found = self._books.endpoint(endpoint)
        future: Future[None] = Future()
        with found.lock:
            ended = found.end(positions)
        if ended:
            self._writer.add(Done(found, ended, outcome, reason, future, len(ended)))
        else:
            resolve(future, None)
        return future

    def move(self, endpoint: str, positions: Iterable[Position], to: str) -> "Future[None]":
        """Put entries that were handed out last into the queues of another endpoint."""
        found = self._books.endpoint(endpoint)
        with found.lock:
            ended = found.end(positions)
        future: Future[None] = Future()
        self._writer.add(Move(found, ended, to, future, len(ended)))
        return future

    def priority(self, position: Position) -> int:
        """Return the priority of the queue that an entry was taken from."""
        return self._books.queues[queue_of(position)].priority

    def give_back(self, endpoint: str, positions: Iterable[Position]) -> None:
        """Make entries available again, in their old places."""
        found = self._books.endpoint(endpoint)
        with found.lock:
            found.give_back(positions)

    def subscribe(self, endpoint: str, wake: Callable[[], None] | None) -> None:
        """Call a function, on the store's thread, whenever something came in; None: no more."""
        self._books.endpoint(endpoint).wake = wake

    def queues(self) -> list[QueueState]:
        """Return every queue there is, empty ones too; reads the disk."""
        now, rates = self._writer.upkeep.sample(), self._writer.upkeep.rates
        full = rates.full_in_seconds(now, self._left())
        with self._reading() as connection:
            found = view.queues(connection)
        states = []
        for number, state in found.items():
            came, went = rates.of(number, now)
            out = self._books.endpoint(state.endpoint)
            with out.lock:
                flying = sum(1 for position in out.leases if view.is_of(position, number))
            states.append(view.live(state, flying, came, went, full))
        return states

    def health(self) -> StoreHealth:
        """Return how the store as a whole is."""
        now, upkeep = self._writer.upkeep.sample(), self._writer.upkeep
        aside = self._quarantine.paths()
        problems = [f"{each} holds a damaged store, {size_bytes(each)} bytes" for each in aside]
        if self._room.is_short:
            problems.append(self._room.refusal(self._books.held, 0).text)
        if self._writer.problem is not None:
            problems.append(f"the store cannot write: {self._writer.problem}")
        return StoreHealth(
            self._books.held,
            self._room.max_bytes,
            self._room.disk_free,
            upkeep.rates.full_in_seconds(now, self._left()),
            self._settings.durability,
            tuple(each.name for each in aside),
            tuple(problems),
        )

    def totals(self) -> list[view.Total]:
        """Return every counter; they survive any crash."""
        with self._reading() as connection:
            return view.totals(connection)

    def peek(self, endpoint: str, limit: int) -> list[Entry]:
        """Return the first entries that wait, handed out or not; nothing changes."""
        ahead = self._ages.wall() - self._ages.now()
        with self._reading() as connection:
            return _entries(view.peek(connection, endpoint, limit), ahead)

    def purge(self, endpoint: str, priority: int | None = None) -> "Future[int]":
        """Drop what waits at an endpoint and is not handed out; the answer is how many."""
        return Purge(self._books, self._submit, endpoint, priority).begin()

    def trace(self, message_id: str) -> Trace | None:
        """Return what became of a message; None when the ledger does not know it (any more)."""
        with self._reading() as connection:
            found = view.trace(connection, message_id)
        if found is None:
            return None
        sent = [
            Event(self._ages.wall(), "sent", endpoint.name)
            for endpoint in list(self._books.endpoints.values())
            if any(each.id == message_id for each in list(endpoint.leases.values()))
        ]
        return Trace(found.message_id, found.source, (*found.events, *sent))

    def _open(self) -> None:
        settings, folder, log = self._settings, self._folder, self._log
        database = repair.open_sound(
            folder, settings.durability, settings.check_seconds, self._quarantine, log
        )
        ledger = Ledger(settings.ledger_bytes, settings.ledger_seconds)
        ledger.measure(database.writer)
        self._books = Books(self._reading, settings.cache_bytes)
        self._books.open(database.writer)
        self._room = Room(folder, settings)
        mark = view.meta(database.writer, MARK)
        believed = settings.believed_gap_seconds
        last = Mark.load(mark) if mark else None
        self._ages = AgeClock(self._clock, self._boot(), last, believed, log)
        former = view.meta(database.writer, _ID_KEY) or ""
        self._epoch = max(int(former) + 1 if former.isdecimal() else 0, int(self._ages.wall()))
        parts = Parts(self._books, self._room, ledger, settings, self._quarantine)
        self._writer = Writer(
            database,
            parts,
            self._ages,
            log,
            lambda: repair.replace(folder, settings.durability, self._quarantine, log),
            Requests(self.desk.handle),
        )
        self.documents = Documents(self._reading, self._submit, log)
        self._writer.start()
        self._submit(
            lambda change: view.set_meta(change.connection, _ID_KEY, str(self._epoch))
        ).result()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._writer.database.reading() as connection:
            yield connection

    def _submit(self, run: Callable[[Change], object]) -> "Future[object]":
        future: Future[object] = Future()
        self._writer.add(Work(run, future))
        return future

    def _taken(self, endpoint: Endpoint, limit: int, max_bytes: int) -> list[Waiting]:
        try:
            with endpoint.lock:
                age_ms = int(self._ages.now() * 1000)
                return endpoint.take(self._books.load, age_ms, limit, max_bytes)
        except sqlite3.Error as error:
            self._damaged(error)
            return []

    def _left(self) -> int:
        disk = self._room.disk_free + self._room.reusable - self._settings.min_free_bytes
        return min(self._room.max_bytes - self._books.held, disk)

    def _damaged(self, error: sqlite3.Error) -> None:
        """Have the store's thread look: it replaces what is damaged."""
        self._log.error("the store cannot be read", reason=error)

        found = [error] if is_damage(error) else []

        def look(change: Change) -> None:
            del change
            if found:
                raise found.pop()

        self._submit(look)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreBusyError(f"{path.parent} is in use by another hub") from error
    return lock


def _entries(found: Iterable[Waiting], ahead: float) -> list[Entry]:
    return [
        Entry(
            Position(each.position),
            each.message,
            None if each.expires is None else each.expires / 1000 + ahead,
        )
        for each in found
        if each.message is not None
    ]
