"""A damaged database: moved aside whole, and what can be read of it taken over.

Rows keep their numbers, so that what is handed out while this happens stays handed out. Reading
goes over damaged places in steps that double; counters are taken over when they can be read, and
what is missing against them is counted as dropped, `corrupted`.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from skerry.base.log import Logger
from skerry.hub.store.database import DAMAGE, FILE, SUFFIXES, Database, connect, is_damage, is_sound
from skerry.hub.store.model import Dropped, Durability
from skerry.hub.store.quarantine import Quarantine, size_bytes
from skerry.hub.store.rows import ROW_BYTES, first_of
from skerry.hub.store.totals import DROPPED, SHARED, STORED, load_totals

_TABLES = ("queue", "total", "meta", "document", "ledger")
_LARGEST_STEP = 1 << 62


def open_sound(
    folder: Path, durability: Durability, seconds: float, quarantine: Quarantine, log: Logger
) -> Database:
    """Open the database of a folder; a damaged one is replaced. Raises: StoreError."""
    quarantine.bound()
    path = folder / FILE
    if path.exists() and path.stat().st_size and not is_sound(path, seconds):
        return replace(folder, durability, quarantine, log)
    try:
        return Database(folder, durability)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return replace(folder, durability, quarantine, log)


def replace(folder: Path, durability: Durability, quarantine: Quarantine, log: Logger) -> Database:
    """Move the database aside, open a new one and take over what can be read."""
    aside = quarantine.make()
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder / f"{FILE}{suffix}", aside / f"{FILE}{suffix}")  # noqa: PTH104
    log.error("the store is damaged; it was moved aside", folder=aside, octets=size_bytes(aside))
    database = Database(folder, durability)
    if durability is not Durability.MEMORY:
        saved, lost = _salvage(aside / FILE, database)
        log.error("what could be read of the store was taken over", messages=saved, lost=lost)
    quarantine.bound()
    return database


def _salvage(path: Path, into: Database) -> tuple[int, int]:
    """Return how many entries were taken over, and how many are known to be lost."""
    try:
        old = connect(path)
    except DAMAGE:
        return 0, 0
    with contextlib.closing(old), into.transaction() as new:
        for table in _TABLES:
            _copy(old, new, table)
        for number, _, _ in new.execute("SELECT * FROM queue").fetchall():
            for row in _rows(old, "entry", first_of(number), first_of(number + 1) - 1):
                _insert(new, "entry", row)
        for table in ("content", "share"):
            for row in _rows(old, table, 0, _LARGEST_STEP):
                _insert(new, table, row)
        new.execute("DELETE FROM entry WHERE content NOT IN (SELECT number FROM content)")
        return _settle(new)


def _settle(new: sqlite3.Connection) -> tuple[int, int]:
    """Make counters and shares agree with the rows there are."""
    new.execute("DELETE FROM share")
    new.execute(
        "INSERT INTO share SELECT content, count(*) FROM entry WHERE content IS NOT NULL GROUP BY 1"
    )
    new.execute("DELETE FROM content WHERE number NOT IN (SELECT number FROM share)")
    totals = load_totals(new.execute("SELECT * FROM total"))
    waiting, saved, lost = totals.waiting(), 0, 0
    for (number,) in new.execute("SELECT id FROM queue").fetchall():
        count, size, newest = _held(new, number)
        known, known_size = waiting.get(number, (0, 0))
        stored = totals.counts.get((number, STORED, ""), 0)
        saved += count
        missing, missing_size = max(known - count, 0), known_size - size
        lost += missing
        # `stored` is also the newest place in the queue, which must not be used a second time.
        grown = max(newest - first_of(number) - stored, count - known, 0)
        _add(new, number, STORED, "", grown, 0)
        _add(new, number, DROPPED, Dropped.CORRUPTED, known + grown - count, missing_size)
    shared = new.execute(
        """SELECT count(*),
            ifnull(sum((s.left - 1) * (length(cast(c.bag AS BLOB)) + length(c.body))), 0)
        FROM share s JOIN content c ON c.number = s.number"""
    ).fetchone()
    new.execute("INSERT OR REPLACE INTO total VALUES (0, ?, '', ?, ?)", (SHARED, *shared))
    return saved, lost


def _held(new: sqlite3.Connection, number: int) -> tuple[int, int, int]:
    found = new.execute(
        f"""SELECT count(*), ifnull(sum({ROW_BYTES} + length(e.id) + length(e.source)
            + length(cast(ifnull(c.bag, e.bag) AS BLOB)) + length(ifnull(c.body, e.body))), 0),
            ifnull(max(e.number), 0)
        FROM entry e LEFT JOIN content c ON c.number = e.content
        WHERE e.number >= ? AND e.number < ?""",  # noqa: S608 - a number of ours
        (first_of(number), first_of(number + 1)),
    ).fetchone()
    return int(found[0]), int(found[1]), int(found[2])


def _add(
    new: sqlite3.Connection, queue: int, outcome: str, reason: str, count: int, size: int
) -> None:
    new.execute(
        "INSERT INTO total VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "count = count + excluded.count, bytes = bytes + excluded.bytes",
        (queue, outcome, reason, count, size),
    )


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> None:
    """Copy a small table up to its first damaged place."""
    with contextlib.suppress(*DAMAGE):
        for row in old.execute(f"SELECT * FROM {table}"):  # noqa: S608 - our own names
            _insert(new, table, row)


def _rows(
    old: sqlite3.Connection, table: str, first: int, last: int
) -> Iterator[tuple[object, ...]]:
    """Yield rows by number, over damaged places in growing steps."""
    step = 1
    while first <= last:
        try:
            for row in old.execute(
                f"SELECT * FROM {table} WHERE number BETWEEN ? AND ? ORDER BY number",  # noqa: S608
                (first, last),
            ):
                if first <= row[0] <= last:  # else damage has changed the order
                    yield row
                    first, step = row[0] + 1, 1
        except DAMAGE:
            first, step = first + step, step * 2
        else:
            return


def _insert(new: sqlite3.Connection, table: str, row: tuple[object, ...]) -> None:
    """Keep a row, unless damage has made nonsense of it."""
    places = ",".join("?" * len(row))
    with contextlib.suppress(sqlite3.IntegrityError):
        new.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)  # noqa: S608
