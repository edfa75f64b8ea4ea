"""The ledger: of many messages, within its bounds; counters outlive its rows."""

import os
from pathlib import Path

from harness.stores import TwoClocks, a_message, finish, opened, put, small, take, tidy, total
from skerry.hub.store.model import Target
from skerry.hub.store.store import Store


def kinds(store: Store, message_id: str) -> list[str]:
    found = store.trace(message_id)
    return [] if found is None else [event.kind for event in found.events]


def test_each_of_many_is_found(tmp_path: Path) -> None:
    """In rows of a batch, for those that were delivered and those that wait."""
    with opened(tmp_path) as store:
        messages = [a_message(store) for _ in range(300)]
        store.put([(each, [Target("upstream")]) for each in messages]).result(10)
        finish(store, take(store, limit=200))
        assert kinds(store, messages[199].id) == ["received", "stored", "delivered"]
        assert kinds(store, messages[200].id) == ["received", "stored"]
        trace = store.trace(messages[0].id)
        assert trace is not None
        assert trace.events[0].at == messages[0].received_at


def test_the_oldest_go_when_it_is_full(tmp_path: Path) -> None:
    """Counters tell of all."""
    with opened(tmp_path, small(ledger_bytes=20_000)) as store:
        ids = []
        for _ in range(60):
            messages = [a_message(store, source=f"edge/{os.urandom(20).hex()}") for _ in range(20)]
            store.put([(each, [Target("upstream")]) for each in messages]).result(10)
            ids += [each.id for each in messages]
        assert kinds(store, ids[0]) == []
        assert kinds(store, ids[-1]) == ["received", "stored"]
        assert total(store, "received") == 1200
    with opened(tmp_path, small(ledger_bytes=20_000)) as store:
        assert total(store, "stored") == 1200
        assert kinds(store, ids[-1]) == ["received", "stored"]


def test_the_oldest_go_with_time(tmp_path: Path) -> None:
    """By the store's own age."""
    clock = TwoClocks()
    with opened(tmp_path, clock=clock) as store:
        put(store, b"1")
        (entry,) = take(store)
        clock.run(8 * 86400)
        tidy(store)
        assert [kind for kind in kinds(store, entry.message.id) if kind != "sent"] == []
        assert total(store, "stored") == 1
