"""A disk that is really full: refused with a reason, nothing lost, recovered when there is room."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.stores import ANSWER_SECONDS, TwoClocks, bodies, finish, opened, put, take, tidy, total
from skerry.hub.store.model import Outcome

pytestmark = [pytest.mark.root, pytest.mark.faults]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], check=True, timeout=10
    )
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True, timeout=10)


def fill(disk: Path) -> Path:
    """Let others take what the disk has left; return what to remove."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as data, contextlib.suppress(OSError):
        while True:
            data.write(b"\0" * 4096)
    return filler


def test_a_full_disk(disk: Path) -> None:
    """Others fill it: messages are refused, deliveries remembered; both recover by themselves."""
    clock = TwoClocks()
    with opened(disk / "store", clock=clock) as store:
        stored = [b"%d" % number for number in range(200)]
        assert put(store, *stored) == [None] * 200
        found = take(store, limit=50)
        filler = fill(disk)
        reasons = [put(store, b"y" * 100_000) for _ in range(60)]
        assert reasons[-1] == ["disk_full"]
        assert store.health().problems
        went = sum(reason == [None] for reason in reasons)
        done = store.done("upstream", [each.position for each in found], Outcome.DELIVERED)
        put(store, b"z" * 100_000)
        assert bodies(take(store, limit=150)) == stored[50:]
        filler.unlink()
        clock.run(2)
        tidy(store)
        assert put(store, b"after") == [None]
        clock.run(2)
        put(store)
        done.result(ANSWER_SECONDS)
        assert store.health().problems == ()
        assert total(store, "delivered") == 50
        assert [len(each) for each in bodies(take(store))] == [100_000] * went + [5]
    with opened(disk / "store", clock=clock) as store:
        assert bodies(take(store, limit=150)) == stored[50:]
        finish(store, take(store))


@pytest.mark.parametrize("full", [True, False], ids=["while it is full", "when there is room"])
def test_a_hub_that_stops_on_a_full_disk(disk: Path, full: bool) -> None:
    """What receivers were done with is stored at the last moment, or comes again."""
    with opened(disk / "store") as store:
        put(store, *[b"x" * 100_000] * 20)
        found = take(store)
        filler = fill(disk)
        for _ in range(40):
            put(store, b"y" * 100_000)
        done = store.done("upstream", [each.position for each in found], Outcome.DELIVERED)
        put(store, b"z" * 100_000)
        if not full:
            filler.unlink()
    stored = done.exception(ANSWER_SECONDS) is None
    filler.unlink(missing_ok=True)
    with opened(disk / "store") as store:
        assert len([each for each in bodies(take(store)) if each[:1] == b"x"]) == 20 * (not stored)
        assert stored or full
