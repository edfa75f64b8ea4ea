"""A damaged database is moved aside, and the hub goes on with what can be read of it."""

import random
import sqlite3
from pathlib import Path

import pytest

from harness.stores import (
    ANSWER_SECONDS,
    bodies,
    finish,
    length,
    opened,
    put,
    small,
    take,
    total,
)
from harness.tiers import Counts
from skerry.hub.store.errors import StoreError
from skerry.hub.store.model import Target
from skerry.hub.store.store import Store

PAGE = 4096
BOTH = (Target("upstream"), Target("edge/a/in", 3))


def body(number: int) -> bytes:
    return b"%05d" % number * 80


def filled(folder: Path, count: int = 1000) -> None:
    """Make a store with messages, some delivered, some shared, and a document."""
    with opened(folder) as store:
        store.documents.put("twin", "edge/a", b"{}").result(ANSWER_SECONDS)
        for begin in range(0, count, 100):
            to = BOTH if begin % 300 == 0 else BOTH[:1]
            put(store, *map(body, range(begin, begin + 100)), to=to)
        finish(store, take(store, limit=50))


def accounts(store: Store) -> tuple[int, int]:
    """Return what waits by the counters, and by the rows."""
    waiting = sum(len(take(store, each.endpoint, limit=100_000)) for each in BOTH)
    put(store)
    counted = total(store, "stored") - total(store, "delivered")
    gone = sum(each.count for each in store.totals() if each.outcome == "dropped" and each.endpoint)
    return counted - gone, waiting


def test_damage_in_the_middle_costs_what_was_there(tmp_path: Path) -> None:
    """Everything else is taken over, in order; what is lost is counted; all that is said."""
    filled(tmp_path)
    file = tmp_path / "hub.db"
    size = file.stat().st_size
    with file.open("r+b") as data:
        data.seek(size // 2 // PAGE * PAGE)
        data.write(b"\xff" * PAGE)
    with opened(tmp_path) as store:
        health = store.health()
        assert health.quarantined == ("quarantine-1",)
        said = f"{tmp_path}/quarantine-1 holds a damaged store, "
        assert [each.startswith(said) for each in health.problems] == [True]
        lost = total(store, "dropped", "corrupted")
        assert 0 < lost < 200
        assert length(store) + length(store, "edge/a/in") == 1350 - lost
        found = bodies(take(store, limit=10_000))
        assert found == sorted(found)
        assert set(found) <= set(map(body, range(50, 1000)))
        assert put(store, b"new") == [None]
        assert bodies(take(store)) == [b"new"]
        assert store.documents.get("twin", "edge/a") == b"{}"
    assert (tmp_path / "quarantine-1/hub.db").stat().st_size == size


def test_no_database_at_all(tmp_path: Path) -> None:
    """A file of something else is moved aside too."""
    (tmp_path / "hub.db").write_bytes(b"no database" * 1000)
    with opened(tmp_path) as store:
        assert store.health().quarantined == ("quarantine-1",)
        assert put(store, b"1") == [None]
    (tmp_path / "hub.db").write_bytes(b"again" * 1000)
    with opened(tmp_path) as store:
        assert store.health().quarantined == ("quarantine-1", "quarantine-2")


def test_damage_that_shows_later_is_repaired_then(tmp_path: Path) -> None:
    """A database that goes bad under a running hub is replaced; receivers are woken."""
    filled(tmp_path, 3000)
    with opened(tmp_path, small(check_seconds=5)) as store:
        woken: list[int] = []
        store.subscribe("upstream", lambda: woken.append(1))
        (first,) = take(store, limit=1)
        with (tmp_path / "hub.db").open("r+b") as data:
            data.seek(PAGE)
            data.write(b"\xff" * ((tmp_path / "hub.db").stat().st_size - PAGE))
        found = take(store, limit=10_000)
        put(store, b"new")
        put(store, b"newer")
        assert store.health().quarantined == ("quarantine-1",)
        assert woken
        finish(store, [first, *found])
        assert bodies(take(store))[-2:] == [b"new", b"newer"]


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    """It is refused, not repaired."""
    filled(tmp_path, 100)
    connection = sqlite3.connect(tmp_path / "hub.db")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(StoreError, match="the store of a newer hub: version 9, this one knows 1"):
        opened(tmp_path).__enter__()
    assert not list(tmp_path.glob("quarantine-*"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With what is in its way."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be the hub's store"):
        opened(tmp_path / "file/store").__enter__()


@pytest.mark.faults
def test_flipped_bytes(tmp_path: Path, counts: Counts) -> None:
    """Wherever bytes are wrong: the store opens, its accounts agree, new messages go through."""
    for seed in range(counts.of("hub store: damaged databases", reduced=30, full=500)):
        chance = random.Random(seed)  # noqa: S311 - repeatable damage
        folder = tmp_path / str(seed)
        filled(folder, 600)
        file = folder / "hub.db"
        data = bytearray(file.read_bytes())
        for _ in range(chance.choice((1, 20, 400))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        with opened(folder) as store:
            assert put(store, b"new", to=BOTH) == [None]
            counted, waiting = accounts(store)
            assert counted == waiting, f"seed {seed}"
        with opened(folder) as store:
            assert bodies(take(store, limit=100_000))[-1] == b"new", f"seed {seed}"
