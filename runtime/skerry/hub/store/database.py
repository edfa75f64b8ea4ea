"""The hub's database: SQLite in WAL, one connection that writes and one that reads.

On disk (the folder is 0700):

    DIR/
      hub.db hub.db-wal hub.db-shm   0600
      hub.lock                       held while a hub runs
      quarantine-N/                  a database that was damaged, moved aside whole

Invariants
- Only the store's thread uses `writer`; `reading` lends the other connection to any thread.
- At the level `memory` messages live in temporary tables, which hide the file's tables of the same
  names from the one connection that there is then; documents are in the file all the same.
- A database of a newer hub is refused and not touched.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from skerry.hub.store.errors import StoreError
from skerry.hub.store.model import Durability

FILE, LOCK, SUFFIXES = "hub.db", "hub.lock", ("", "-wal", "-shm")
VERSION = 1

_KEPT = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS document (
    kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS request (
    number INTEGER PRIMARY KEY AUTOINCREMENT, asked TEXT NOT NULL, answer TEXT
);
"""
# `number` of an entry is its queue and its place in it: each queue is one range of one tree.
_MESSAGES = """
CREATE {temp} TABLE IF NOT EXISTS queue (
    id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, priority INTEGER NOT NULL,
    UNIQUE (endpoint, priority)
);
CREATE {temp} TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, expires INTEGER, received REAL NOT NULL,
    source TEXT NOT NULL, bag TEXT NOT NULL, body BLOB NOT NULL, content INTEGER,
    crc INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS {place}entry_expires ON entry (expires) WHERE expires IS NOT NULL;
CREATE {temp} TABLE IF NOT EXISTS content (
    number INTEGER PRIMARY KEY, bag TEXT NOT NULL, body BLOB NOT NULL
);
CREATE {temp} TABLE IF NOT EXISTS share (number INTEGER PRIMARY KEY, left INTEGER NOT NULL);
CREATE {temp} TABLE IF NOT EXISTS total (
    queue INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
    count INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (queue, outcome, reason)
) WITHOUT ROWID;
CREATE {temp} TABLE IF NOT EXISTS ledger (
    number INTEGER PRIMARY KEY, age INTEGER NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
    events BLOB NOT NULL
);
"""
_SYNCHRONOUS = {Durability.SYNCED: "FULL", Durability.WRITTEN: "NORMAL", Durability.MEMORY: "FULL"}
_BUSY_SECONDS = 10.0

DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged file raises; messages of SQLite may quote bytes of it."""


class Database:
    """The two connections."""

    def __init__(self, folder: Path, durability: Durability) -> None:
        """Open or make the file. Raises: StoreError, sqlite3.DatabaseError for a damaged one."""
        self._in_memory = durability is Durability.MEMORY
        self._lock = threading.RLock()
        path = folder / FILE
        # Made before SQLite opens it, so that messages are private from the first byte on.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.writer = connect(path)
        try:
            _prepare(self.writer, path, durability)
            self._reader = self.writer if self._in_memory else connect(path)
            self._reader.execute("PRAGMA query_only = ON" if not self._in_memory else "SELECT 1")
        except BaseException:
            self.writer.close()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that reads what is committed."""
        with self._lock:
            yield self._reader

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction; what raises leaves nothing."""
        with self._lock if self._in_memory else contextlib.nullcontext():
            self.writer.execute("BEGIN IMMEDIATE")
            try:
                yield self.writer
                self.writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self.writer.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close both connections; the last one to close removes the WAL."""
        with self._lock:
            if not self._in_memory:
                self._reader.close()
            self.writer.close()


def is_sound(path: Path, seconds: float) -> bool:
    """Return whether a file passes SQLite's check, as far as that gets in the time given."""
    connection = connect(path)
    with contextlib.closing(connection):
        timer = threading.Timer(seconds, connection.interrupt)
        timer.start()
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            return error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT
        except DAMAGE:
            return False
        finally:
            timer.cancel()
            timer.join()
    return found is not None and found[0] == "ok"


def is_damage(error: BaseException) -> bool:
    """Return whether an error says that the file is not a whole database any more."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_full(error: BaseException) -> bool:
    """Return whether an error says that the disk has no room, or does not take what is written."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def connect(path: Path) -> sqlite3.Connection:
    """Open a file, for any thread, with transactions as they are asked for."""
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.text_factory = _text
    return connection


def _text(data: bytes) -> str:
    """Damaged text must not make a whole answer unreadable; sums tell that it is damaged."""
    return data.decode("utf-8", "replace")


def _prepare(connection: sqlite3.Connection, path: Path, durability: Durability) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise StoreError(
            f"{path} is the store of a newer hub: version {found}, this one knows {VERSION}; "
            "use that hub or another folder"
        )
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.executescript(_KEPT + _MESSAGES.format(temp="", place=""))
    connection.execute(f"PRAGMA user_version = {VERSION}")
    if durability is Durability.MEMORY:
        connection.executescript(_MESSAGES.format(temp="TEMP", place="temp."))
