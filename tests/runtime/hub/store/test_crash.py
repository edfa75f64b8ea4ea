"""Nothing acknowledged is lost: the process killed at any moment, the power cut at any frame."""

import os
import random
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from harness.stores import UPSTREAM, a_message, bodies, finish, opened, put, take, total
from harness.tiers import Counts
from skerry.hub.store.database import Database
from skerry.hub.store.model import Durability, Outcome, Target
from skerry.hub.store.store import Store

INPUT = Target("edge/a/in", 3)
ENDPOINTS = (UPSTREAM.endpoint, INPUT.endpoint)
LOAD_SECONDS = 0.15
WAL_HEADER, FRAME = 32, 24 + 4096


@dataclass
class Said:
    """What the loaded store has said about messages, by endpoint: numbers of messages."""

    stored: dict[str, set[int]] = field(default_factory=lambda: {one: set() for one in ENDPOINTS})
    handed: dict[str, set[int]] = field(default_factory=lambda: {one: set() for one in ENDPOINTS})
    ended: dict[str, set[int]] = field(default_factory=lambda: {one: set() for one in ENDPOINTS})

    def hear(self, line: str) -> None:
        kind, endpoint, *numbers = line.split()
        heard = getattr(self, kind)[endpoint]
        assert kind != "ended" or not heard & set(map(int, numbers)), f"ended twice: {line}"
        heard.update(map(int, numbers))


def load(folder: Path, first: int, out: int) -> None:
    """Put without end, and deliver what comes out; say what is certain, in one write each."""

    def say(kind: str, endpoint: str, numbers: list[int]) -> None:
        os.write(out, f"{kind} {endpoint} {' '.join(map(str, numbers))}\n".encode())

    def ended(endpoint: str, numbers: list[int], _: object) -> None:
        say("ended", endpoint, numbers)

    def deliver(store: Store, endpoint: str, wake: threading.Event) -> None:
        while True:
            wake.wait()
            wake.clear()
            while found := store.take(endpoint, 20, 1 << 20):
                numbers = [int(entry.message.body) for entry in found]
                say("handed", endpoint, numbers)
                if numbers[0] % 7 == 0:
                    store.give_back(endpoint, [entry.position for entry in found])
                    found, numbers = store.take(endpoint, 1, 1), numbers[:1]
                positions = [entry.position for entry in found]
                done = store.done(endpoint, positions, Outcome.DELIVERED)
                done.add_done_callback(partial(ended, endpoint, numbers))

    with opened(folder) as store:
        for endpoint in ENDPOINTS:
            wake = threading.Event()
            store.subscribe(endpoint, wake.set)
            wake.set()
            threading.Thread(target=deliver, args=(store, endpoint, wake), daemon=True).start()
        number, window = first, threading.Semaphore(8)
        while True:
            window.acquire()
            numbers = list(range(number, number + 1 + number % 5))
            number = numbers[-1] + 1
            both = numbers[0] % 2 == 0
            to = (UPSTREAM, INPUT) if both else (UPSTREAM,)
            items = [(a_message(store, b"%d" % each), to) for each in numbers]

            def stored(_: object, numbers: list[int] = numbers, both: bool = both) -> None:
                say("stored", UPSTREAM.endpoint, numbers)
                if both:
                    say("stored", INPUT.endpoint, numbers)
                window.release()

            store.put_then(items, stored)


@contextmanager
def loaded(folder: Path, first: int) -> Iterator[tuple[int, int]]:
    """Run the load in a child; yields its id and what to read; kills it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            load(folder, first, write)
        except BaseException:  # the child's end, whatever it is
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write)
    try:
        yield child, read
    finally:
        os.close(read)


def kill_once(folder: Path, first: int, said: Said, chance: random.Random) -> None:
    """Let the child run for a moment, kill it, and hear all that it said."""
    with loaded(folder, first) as (child, read):
        heard = os.read(read, 65536)
        killer = threading.Timer(chance.random() * LOAD_SECONDS, os.kill, (child, signal.SIGKILL))
        killer.start()
        while more := os.read(read, 1 << 20):
            heard += more
        killer.join()
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    for line in heard.decode().splitlines():
        said.hear(line)


def check(folder: Path, said: Said) -> int:
    """Compare what is in the store with what was said; return the next free number."""
    newest = 0
    with opened(folder) as store:
        for endpoint in ENDPOINTS:
            waiting = [int(body) for body in bodies(take(store, endpoint, 1_000_000))]
            assert waiting == sorted(set(waiting)), "order"
            assert said.stored[endpoint] - said.handed[endpoint] <= set(waiting), "lost"
            assert (
                said.stored[endpoint] - said.ended[endpoint] - set(waiting)
                <= (said.handed[endpoint])
            ), "lost"
            assert not said.ended[endpoint] & set(waiting), "delivered twice"
            newest = max([newest, *waiting, *said.stored[endpoint]])
        waits = sum(state.length for state in store.queues())
        assert total(store, "stored") - total(store, "delivered") == waits
        for state in store.queues():
            assert state.length == len(list(store.peek(state.endpoint, 1_000_000)))
    return newest + 1


@pytest.mark.faults
def test_killed_at_any_moment(tmp_path: Path, counts: Counts) -> None:
    """Under load, again and again in one folder: nothing is lost, order is kept, accounts agree."""
    chance, said, first = random.Random(4), Said(), 1  # noqa: S311 - when to kill
    for _ in range(counts.of("hub store: kills under load", reduced=40, full=1000)):
        kill_once(tmp_path, first, said, chance)
        first = check(tmp_path, said)
    print(f"{first} messages", file=sys.stderr)  # noqa: T201 - how much load there was


@dataclass
class Cut:
    """What was acknowledged when the WAL had so many bytes."""

    wal_bytes: int
    stored: frozenset[bytes]
    ended: frozenset[bytes]


def history(folder: Path, rounds: int) -> list[Cut]:
    """Put and deliver for a while, without a checkpoint; leave a copy of the files as `cut`."""
    cuts, stored, ended = [], set[bytes](), set[bytes]()
    wal = folder / "hub.db-wal"
    with opened(folder) as store:
        for number in range(rounds):
            new = [b"%d-%d" % (number, each) for each in range(1 + number % 4)]
            put(store, *new, to=[UPSTREAM, INPUT] if number % 3 == 0 else [UPSTREAM])
            stored.update(new)
            if number % 2:
                found = take(store, limit=2)
                finish(store, found)
                ended.update(bodies(found))
            cuts.append(Cut(wal.stat().st_size, frozenset(stored), frozenset(ended)))
        for name in ("hub.db", "hub.db-wal"):
            shutil.copy(folder / name, folder.parent / name)
    return cuts


@pytest.mark.faults
def test_power_cut_at_any_frame(tmp_path: Path, counts: Counts) -> None:
    """Whatever part of the log reached the disk, whole or torn: what was acknowledged is there."""
    cuts = history(tmp_path / "ran", counts.of("hub store: rounds cut", reduced=12, full=60))
    data = (tmp_path / "hub.db-wal").read_bytes()
    chance = random.Random(5)  # noqa: S311 - what is torn
    for end in range(WAL_HEADER, len(data) + 1, FRAME):
        torn = chance.randbytes(chance.choice((0, 17, FRAME // 2)))
        folder = tmp_path / f"cut-{end}"
        folder.mkdir()
        shutil.copy(tmp_path / "hub.db", folder)
        (folder / "hub.db-wal").write_bytes(data[:end] + torn)
        certain = [cut for cut in cuts if cut.wal_bytes <= end]
        with opened(folder) as store:
            found = bodies(take(store, limit=100_000))
            assert len(found) == len(set(found))
            assert sum(1 for _ in store.peek("upstream", 100_000)) == len(found)
            if certain:
                cut = certain[-1]
                possible = cuts[min(len(certain), len(cuts) - 1)].ended
                assert cut.stored - possible <= set(found)
                assert not cut.ended & set(found)
            waits = sum(state.length for state in store.queues())
            assert total(store, "stored") - total(store, "delivered") == waits
            assert not store.health().quarantined
        shutil.rmtree(folder)


def test_levels_of_durability(tmp_path: Path) -> None:
    """`synced` has the log synced at each commit, `written` leaves that to the system."""
    modes = {}
    for level in (Durability.SYNCED, Durability.WRITTEN):
        database = Database(tmp_path, level)
        modes[level] = (
            database.writer.execute("PRAGMA journal_mode").fetchone()[0],
            database.writer.execute("PRAGMA synchronous").fetchone()[0],
        )
        database.close()
    assert modes == {Durability.SYNCED: ("wal", 2), Durability.WRITTEN: ("wal", 1)}


def test_memory_holds_messages_only_while_it_runs(tmp_path: Path) -> None:
    """Documents are kept, and messages of other levels wait for their day."""
    from harness.stores import ANSWER_SECONDS, small

    memory = small(durability=Durability.MEMORY)
    with opened(tmp_path) as store:
        put(store, b"on disk")
    with opened(tmp_path, memory) as store:
        put(store, *[b"%d" % number for number in range(3000)], to=[UPSTREAM, INPUT])
        store.documents.put("twin", "edge/a", b"{}").result(ANSWER_SECONDS)
        found = take(store, limit=5000)
        assert len(found) == 3000
        finish(store, found[:10])
        assert total(store, "delivered") == 10
    with opened(tmp_path, memory) as store:
        assert take(store) == []
        assert store.documents.get("twin", "edge/a") == b"{}"
    with opened(tmp_path) as store:
        assert bodies(take(store)) == [b"on disk"]
