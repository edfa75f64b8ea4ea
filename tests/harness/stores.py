"""Stores of the hub for tests: opened in a folder, with a clock that moves in both ways."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from skerry.base.log import get_logger
from skerry.hub.store.model import Entry, Message, Outcome, StoreSettings, Target
from skerry.hub.store.store import Store

ANSWER_SECONDS = 20.0
SETTINGS = StoreSettings(min_free_bytes=0)
UPSTREAM = Target("upstream")


@dataclass
class TwoClocks:
    """Wall and monotonic time, moved apart or together; begins at a fixed hour."""

    wall: datetime = field(default_factory=lambda: datetime(2026, 11, 23, 12, tzinfo=UTC))
    ran: float = 1000.0

    def now(self) -> datetime:
        """Return the wall time."""
        return self.wall

    def monotonic(self) -> float:
        """Return seconds that only `run` moves."""
        return self.ran

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.ran += seconds
        self.wall += timedelta(seconds=seconds)

    def step(self, days: float) -> None:
        """Set the wall clock, as a time server does."""
        self.wall += timedelta(days=days)


@contextmanager
def opened(
    folder: Path,
    settings: StoreSettings = SETTINGS,
    clock: TwoClocks | None = None,
    boot: str = "this boot",
) -> Iterator[Store]:
    """Open a store, and close it."""
    store = Store(folder, settings, clock or TwoClocks(), get_logger("hub"), lambda: boot)
    store.open()
    try:
        yield store
    finally:
        store.close()


def a_message(store: Store, body: bytes = b"body", source: str = "edge/sender") -> Message:
    """Return a message with an id of this store."""
    system, properties = {"content-type": "text/plain"}, {"colour": "grün"}
    return Message(store.new_id(), source, system, properties, body, 1_795_000_000.25)


def put(store: Store, *bodies: bytes, to: Sequence[Target] = (UPSTREAM,)) -> list[str | None]:
    """Store messages and return the reasons for which they were refused."""
    items = [(a_message(store, body), to) for body in bodies]
    answer = store.put(items).result(ANSWER_SECONDS)
    return [None if refusal is None else refusal.reason for refusal in answer]


def take(store: Store, endpoint: str = "upstream", limit: int = 100) -> list[Entry]:
    """Return what is handed out next."""
    return store.take(endpoint, limit, 1 << 30)


def bodies(entries: Sequence[Entry]) -> list[bytes]:
    """Return the bodies of entries."""
    return [entry.message.body for entry in entries]


def finish(
    store: Store,
    entries: Sequence[Entry],
    endpoint: str = "upstream",
    outcome: Outcome = Outcome.DELIVERED,
    reason: str = "",
) -> None:
    """End entries, and wait until that is stored."""
    positions = [entry.position for entry in entries]
    store.done(endpoint, positions, outcome, reason).result(ANSWER_SECONDS)


def length(store: Store, endpoint: str = "upstream") -> int:
    """Return how many entries wait at an endpoint."""
    return sum(state.length for state in store.queues() if state.endpoint == endpoint)


def total(store: Store, outcome: str, reason: str | None = None) -> int:
    """Return how often something happened."""
    return sum(
        each.count for each in store.totals()
        if each.outcome == outcome and reason in (None, each.reason)
    )  # fmt: skip


def small(**changes: object) -> StoreSettings:
    """Return settings for tests with some changed."""
    return replace(SETTINGS, **changes)  # type: ignore[arg-type]


def tidy(store: Store) -> None:
    """Wait until the store has done what is due: it looks after each transaction."""
    put(store)
    put(store)
