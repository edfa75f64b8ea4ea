"""The one database: whole transactions, one thread, versions, other processes beside it."""

import sqlite3
import stat
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from skerry_lab.database import Database
from skerry_lab.errors import StoreError

SCHEMAS = {"notes": ("CREATE TABLE note (text TEXT PRIMARY KEY)",)}


def insert(text: str, connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO note VALUES (?)", (text,))


def add(database: Database, text: str) -> None:
    database.run(partial(insert, text))


def texts(database: Database) -> list[str]:
    return database.run(
        lambda connection: [
            row["text"] for row in connection.execute("SELECT text FROM note ORDER BY text")
        ]
    )


def test_work_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """What raises is rolled back alone; its neighbours are kept."""
    database = Database(tmp_path / "lab.db", SCHEMAS)
    go = threading.Event()

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO note VALUES ('half')")
        raise ValueError("no more")

    waiting: list[Future[Any]] = [
        database.submit(lambda _: go.wait(10)),  # so that the next three share a transaction
        database.submit(lambda c: c.execute("INSERT INTO note VALUES ('before')").rowcount),
        database.submit(half),
        database.submit(lambda c: c.execute("INSERT INTO note VALUES ('after')").rowcount),
    ]
    go.set()
    with pytest.raises(ValueError, match="no more"):
        waiting[2].result()
    assert [waiting[1].result(), waiting[3].result()] == [1, 1]
    assert texts(database) == ["after", "before"]
    database.close()


def test_work_that_nobody_waits_for_any_more_is_not_done(tmp_path: Path) -> None:
    """A caller that gives up before its turn leaves nothing, and the next is served."""
    database = Database(tmp_path / "lab.db", SCHEMAS)
    go = threading.Event()
    first = database.submit(lambda _: go.wait(10))
    given_up = database.submit(lambda c: c.execute("INSERT INTO note VALUES ('late')").rowcount)
    # The first may have taken the second along into its batch: then it can no longer be given up.
    was_given_up = given_up.cancel()
    go.set()
    assert first.result()
    assert texts(database) == ([] if was_given_up else ["late"])
    database.close()


def test_what_waits_is_done_before_the_end(tmp_path: Path) -> None:
    """Closing loses nothing that was handed in, more than one batch of it."""
    database = Database(tmp_path / "lab.db", SCHEMAS)
    for number in range(600):
        database.submit(partial(insert, f"{number:03d}"))
    database.close()
    database = Database(tmp_path / "lab.db", SCHEMAS)
    assert len(texts(database)) == 600
    database.close()


def test_work_after_the_end_is_refused(tmp_path: Path) -> None:
    """Nobody waits for it in vain."""
    database = Database(tmp_path / "a.db", {})
    database.close()
    with pytest.raises(StoreError, match="closed its database"):
        database.run(lambda connection: None)
    database.close()


def test_the_file_is_private_and_in_wal_mode(tmp_path: Path) -> None:
    """The database holds keys: 0600; WAL and synchronous FULL, so that what was answered lasts."""
    database = Database(tmp_path / "lab.db", SCHEMAS)
    pragmas = database.run(
        lambda c: (
            c.execute("PRAGMA journal_mode").fetchone()[0],
            c.execute("PRAGMA synchronous").fetchone()[0],
        )
    )
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    database.close()
    assert (pragmas, modes) == (("wal", 2), {0o600})


def test_two_processes_may_write(tmp_path: Path) -> None:
    """Two connections to the file see each other's changes at once."""
    first, second = (Database(tmp_path / "lab.db", SCHEMAS) for _ in range(2))
    add(first, "a")
    add(second, "b")
    assert texts(first) == texts(second) == ["a", "b"]
    first.close()
    second.close()


def test_a_schema_grows(tmp_path: Path) -> None:
    """A later version runs the scripts that are new and keeps what is there."""
    database = Database(tmp_path / "lab.db", SCHEMAS)
    add(database, "kept")
    database.close()
    grown = {"notes": (*SCHEMAS["notes"], "ALTER TABLE note ADD COLUMN size INTEGER DEFAULT 4")}
    database = Database(tmp_path / "lab.db", grown)
    row = database.run(lambda c: tuple(c.execute("SELECT * FROM note").fetchone()))
    database.close()
    assert row == ("kept", 4)


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """A database of a later version is not touched."""
    Database(tmp_path / "lab.db", {"notes": (*SCHEMAS["notes"], "SELECT 1")}).close()
    with pytest.raises(StoreError, match="newer lab: 'notes' has version 2, this one knows 1"):
        Database(tmp_path / "lab.db", SCHEMAS)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """A file that is no database is named and left as it is."""
    path = tmp_path / "lab.db"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"lab\.db cannot be used as the lab's database"):
        Database(path, SCHEMAS)
    assert path.read_bytes().startswith(b"not a database")


def test_a_change_that_the_disk_does_not_take_is_an_error(tmp_path: Path) -> None:
    """A failed commit reaches everyone who waits for it, and the next work goes on."""
    database = Database(tmp_path / "lab.db", SCHEMAS)
    add(database, "a")
    pages = database.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    database.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(StoreError, match="did not take the change: database or disk is full"):
        add(database, "x" * 100_000)
    assert texts(database) == ["a"]
    database.close()
