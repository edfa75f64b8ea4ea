"""Notices: stored with the change, read once and in order, from any process."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skerry.wire.identity import Identity
from skerry_lab.database import Database
from skerry_lab.outbox import SCHEMA, Kind, Notice, Outbox

DEVICE, MODULE = Identity("d"), Identity("d", "$edgeAgent")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "lab.db", {"outbox": SCHEMA})
    yield opened
    opened.close()


def outbox(database: Database) -> Outbox:
    return database.run(Outbox)


def put(box: Outbox, *notices: Notice) -> Callable[[sqlite3.Connection], None]:
    def work(_: sqlite3.Connection) -> None:
        for notice in notices:
            box.put(notice)

    return work


def test_notices_are_read_once_in_order(database: Database) -> None:
    """What was put comes out as it went in, and then no more."""
    box = outbox(database)
    notices = [
        Notice(Kind.DESIRED, MODULE, {"version": 2, "patch": {"a": None}}),
        Notice(Kind.C2D, DEVICE),
    ]
    database.run(put(box, *notices))
    assert box.has_news
    assert database.run(lambda _: box.take()) == notices
    assert not box.has_news
    assert database.run(lambda _: box.take()) == []


def test_what_another_process_put_is_read_too(database: Database, tmp_path: Path) -> None:
    """A second connection to the file puts a notice."""
    box = outbox(database)
    other = Database(tmp_path / "lab.db", {"outbox": SCHEMA})
    other.run(put(outbox(other), Notice(Kind.IDENTITY, DEVICE)))
    other.close()
    assert database.run(lambda _: box.take()) == [Notice(Kind.IDENTITY, DEVICE)]


def test_a_change_that_fails_tells_nothing(database: Database) -> None:
    """The notice goes with its transaction."""
    box = outbox(database)

    def fail(_: sqlite3.Connection) -> None:
        box.put(Notice(Kind.IDENTITY, DEVICE))
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        database.run(fail)
    assert database.run(lambda _: box.take()) == []


def test_what_was_there_at_the_start_is_not_told(database: Database) -> None:
    """Nobody was connected then."""
    database.run(put(outbox(database), Notice(Kind.IDENTITY, DEVICE)))
    box = outbox(database)
    assert database.run(lambda _: box.take()) == []


def test_many_notices_come_in_pages_and_are_forgotten(database: Database) -> None:
    """All arrive, and the table does not grow for ever."""
    box = outbox(database)
    database.run(put(box, *[Notice(Kind.C2D, DEVICE)] * 1200))
    pages = [len(database.run(lambda _: box.take())) for _ in range(4)]
    assert pages == [500, 500, 200, 0]
    count = database.run(lambda c: c.execute("SELECT count(*) FROM notice").fetchone()[0])
    assert count < 1000


def test_identities_are_written_as_they_are_read() -> None:
    """A device, and a module of it."""
    assert [str(DEVICE), str(MODULE)] == ["d", "d/$edgeAgent"]
    assert [Identity.parse(str(one)) for one in (DEVICE, MODULE)] == [DEVICE, MODULE]
