"""The one database of a lab: SQLite, WAL, synchronous FULL, one connection used by one thread.

Invariants
- All work runs on the database's thread; SQLite refuses the connection to any other.
- Work is a function of the connection. It is whole or not at all: what raises leaves nothing.
- What a caller was answered is on disk. Work that waits together is committed together, so that
  many writers share one fsync; each piece keeps its own savepoint.
- The schema belongs to the domains: each brings its list of scripts, and the table `schema` says
  how many of them have run. A database of a newer lab is refused and not touched.
- Other processes may use the same file (`skerry-lab device add` beside `skerry-lab up`): every
  transaction is IMMEDIATE, and nothing read is kept beyond it.
"""

import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from skerry_lab.errors import StoreError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_BUSY_SECONDS = 10.0
_MAX_BATCH = 256


class Database:
    """Runs work against the file at `path`, which is made when it is missing."""

    def __init__(self, path: Path, schemas: Mapping[str, Sequence[str]]) -> None:
        self._path = path
        self._schemas = schemas
        self._waiting: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._on_commit: Callable[[], None] = _nobody
        self._lock = threading.Lock()
        self._is_closed = False
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(opened,), name="lab-database", daemon=True
        )
        self._thread.start()
        opened.result()

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call a function, on the database's thread, whenever something has been stored."""
        self._on_commit = listener

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue work; the future is done when its transaction is on disk."""
        future: Future[T] = Future()
        with self._lock:
            if self._is_closed:
                future.set_exception(StoreError("the lab has closed its database"))
            else:
                self._waiting.put((work, future))
        return future

    def run(self, work: Work[T]) -> T:
        """Do work and wait for it; not to be called from work itself."""
        return self.submit(work).result()

    def close(self) -> None:
        """Finish what is queued and close the file."""
        with self._lock:  # what is queued later would wait for ever
            self._is_closed = True
            self._waiting.put(None)
        self._thread.join()

    def _serve(self, opened: "Future[None]") -> None:
        try:
            connection = _open(self._path)
            try:
                migrate(connection, self._schemas)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError, StoreError) as error:
            failure = error if isinstance(error, StoreError) else _refusal(self._path, error)
            opened.set_exception(failure)
            return
        opened.set_result(None)
        with contextlib.closing(connection):
            while batch := self._next_batch():
                # Whoever gave up waiting gets nothing done; from here on nobody can.
                wanted = [each for each in batch if each[1].set_running_or_notify_cancel()]
                before = connection.total_changes
                _commit(connection, wanted)
                if connection.total_changes != before:
                    self._on_commit()

    def _next_batch(self) -> "list[tuple[Work[Any], Future[Any]]]":
        """Return what waits, at least one piece; nothing when the database is to be closed."""
        batch: list[tuple[Work[Any], Future[Any]]] = []
        following = self._waiting.get()
        with contextlib.suppress(queue.Empty):
            while following is not None:
                batch.append(following)
                if len(batch) == _MAX_BATCH:
                    return batch
                following = self._waiting.get_nowait()
            if batch:
                self._waiting.put(None)  # what waits is done first
        return batch


def _commit(connection: sqlite3.Connection, batch: list[tuple[Work[Any], "Future[Any]"]]) -> None:
    done: list[tuple[Future[Any], Any, BaseException | None]] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for work, future in batch:
            connection.execute("SAVEPOINT work")
            try:
                done.append((future, work(connection), None))
            except Exception as error:
                if isinstance(error, sqlite3.Error) and not connection.in_transaction:
                    raise  # a full disk, say: SQLite has rolled back everything
                connection.execute("ROLLBACK TO work")
                done.append((future, None, error))
            connection.execute("RELEASE work")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        failure = StoreError(f"the database of the lab did not take the change: {error}")
        done = [(future, None, failure) for _, future in batch]
    for future, result, problem in done:
        if problem is None:
            future.set_result(result)
        else:
            future.set_exception(problem)


def _nobody() -> None:
    """Nobody wants to hear of commits."""


def _open(path: Path) -> sqlite3.Connection:
    # Made before SQLite opens it, so that keys are private from the first byte on.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def migrate(connection: sqlite3.Connection, schemas: Mapping[str, Sequence[str]]) -> None:
    """Bring the tables of all domains to their newest version. Raises: StoreError."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema (domain TEXT PRIMARY KEY, version INTEGER NOT NULL)"
    )
    found = {row["domain"]: row["version"] for row in connection.execute("SELECT * FROM schema")}
    for domain, version in found.items():
        if version > len(schemas.get(domain, ())):
            raise StoreError(
                f"the database is of a newer lab: {domain!r} has version {version}, this one knows "
                f"{len(schemas.get(domain, ()))}; use that version or another --data folder"
            )
    for domain, scripts in schemas.items():
        for script in scripts[found.get(domain, 0) :]:
            for statement in filter(None, (part.strip() for part in script.split(";"))):
                connection.execute(statement)
        connection.execute("INSERT OR REPLACE INTO schema VALUES (?, ?)", (domain, len(scripts)))
    connection.execute("COMMIT")


def _refusal(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} cannot be used as the lab's database: {error}")
