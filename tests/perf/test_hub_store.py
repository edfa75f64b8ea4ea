"""The hub's store alone: rates by batch, latency at 5,000/s, a large backlog, memory."""

import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from perf.conftest import Record
from skerry.base.clock import SystemClock
from skerry.base.log import get_logger
from skerry.hub.store.model import Message, Outcome, StoreSettings, Target
from skerry.hub.store.store import Store
from skerry_factory.bench import summarise

pytestmark = pytest.mark.perf

RUNS = 3
BODY = os.urandom(256)
UPSTREAM = [Target("upstream", ttl_seconds=7200)]
WINDOW = 40  # calls of put under way
SECONDS = 4.0
PACED_PER_SECOND = 5000
BACKLOG = int(os.environ.get("SKERRY_BACKLOG", "1000000"))
SAMPLE = 50_000


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    store = Store(folder, StoreSettings(max_bytes=1 << 40), SystemClock(), get_logger("hub"))
    store.open()
    try:
        yield store
    finally:
        store.close()


def message(store: Store) -> Message:
    system = {"content-type": "application/json", "content-encoding": "utf-8"}
    return Message(store.new_id(), "edge/sensor", system, {"a": "1"}, BODY, time.time())


def put_many(store: Store, count: int, batch: int) -> float:
    """Put so many in calls of `batch`; return how many a second were on disk."""
    window = threading.Semaphore(WINDOW)
    began = time.perf_counter()
    for _ in range(count // batch):
        window.acquire()
        items = [(message(store), UPSTREAM) for _ in range(batch)]
        store.put_then(items, lambda _: window.release())
    for _ in range(WINDOW):
        window.acquire()
    return count / (time.perf_counter() - began)


def drain(store: Store, count: int) -> float:
    """Take and end so many; return how many a second."""
    began, taken = time.perf_counter(), 0
    last, came = None, threading.Event()
    store.subscribe("upstream", came.set)
    while taken < count:
        if not (found := store.take("upstream", 100, 1 << 20)):
            came.wait()
            came.clear()
            continue
        taken += len(found)
        last = store.done("upstream", [each.position for each in found], Outcome.DELIVERED)
    assert last is not None
    last.result()
    return taken / (time.perf_counter() - began)


def pss_megabytes() -> float:
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(at.split()[1]) for at in rollup.splitlines() if at.startswith("Pss:")) / 1e3


@pytest.mark.parametrize("batch", [1, 10, 50, 500])
def test_put(tmp_path: Path, record: Record, batch: int) -> None:
    """256 B, each on disk before it is acknowledged, so many in a call."""
    rates = []
    for run in range(RUNS):
        with opened(tmp_path / str(run)) as store:
            rates.append(put_many(store, 30_000 if batch > 1 else 8_000, batch))
    record(summarise(f"hub store: put in calls of {batch}", rates, "1/s", target=5000))


def test_live(tmp_path: Path, record: Record) -> None:
    """Put, take and done at once: a receiver that keeps up."""
    rates = []
    for run in range(RUNS):
        with opened(tmp_path / str(run)) as store:
            began, count = time.perf_counter(), 40_000
            receiver = threading.Thread(target=drain, args=(store, count))
            receiver.start()
            put_many(store, count, 20)
            receiver.join()
            rates.append(count / (time.perf_counter() - began))
    record(summarise("hub store: put, take and done", rates, "1/s", target=5000))


def test_latency(tmp_path: Path, record: Record) -> None:
    """At 5,000/s, one message a call: the time from put to its being on disk."""
    found = []
    for run in range(RUNS):
        with opened(tmp_path / str(run)) as store:
            found.append(1000 * statistics.quantiles(paced(store), n=100)[98])
    record(summarise("hub store: p99 of put at 5,000/s", found, "ms", target=25))


def paced(store: Store) -> list[float]:
    took: list[float] = []

    def stored(due: float, _: object) -> None:
        took.append(time.perf_counter() - due)

    began = time.perf_counter()
    for number in range(int(SECONDS * PACED_PER_SECOND)):
        due = began + number / PACED_PER_SECOND
        if (wait := due - time.perf_counter()) > 0:
            time.sleep(wait)
        store.put_then([(message(store), UPSTREAM)], partial(stored, due))
    store.put([]).result()
    return took


def test_backlog(tmp_path: Path, record: Record) -> None:
    """The rate of put and drain with a backlog, against that of an empty store; memory; start."""
    before = pss_megabytes()
    with opened(tmp_path) as store:
        empty = [put_many(store, SAMPLE, 50) for _ in range(RUNS)]
        while (left := BACKLOG - store.queues()[0].length) > 0:
            put_many(store, min(left, 200_000), 500)
        full = [put_many(store, SAMPLE, 50) for _ in range(RUNS)]
        drained = [drain(store, SAMPLE) for _ in range(RUNS)]
        memory = pss_megabytes() - before
    began = time.perf_counter()
    with opened(tmp_path):
        started = time.perf_counter() - began
    named = f"hub store: {BACKLOG:,} waiting"
    record(summarise(f"{named}, put", full, "1/s", target=statistics.median(empty)))
    record(summarise(f"{named}, take and done", drained, "1/s", target=5000))
    record(summarise(f"{named}, memory (PSS)", [memory], "MB", target=60))
    record(summarise(f"{named}, start", [started], "s", target=10))
