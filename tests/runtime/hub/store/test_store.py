"""Store and forward, as the rest of the hub sees it."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.stores import (
    ANSWER_SECONDS,
    TwoClocks,
    a_message,
    bodies,
    finish,
    length,
    opened,
    put,
    take,
    total,
)
from skerry.hub.store.errors import StoreError
from skerry.hub.store.model import Outcome, Target

LATER = 9


def test_a_message_comes_out_as_it_went_in(tmp_path: Path) -> None:
    """What is taken is what was put, also when it was read from disk."""
    with opened(tmp_path) as store:
        message = a_message(store, b"\x00\xff" * 200)
        assert store.put([(message, [Target("upstream")])]).result(ANSWER_SECONDS) == [None]
        assert [entry.message for entry in take(store)] == [message]
    with opened(tmp_path) as store:
        assert [entry.message for entry in take(store)] == [message]


def test_what_is_handed_out_is_not_handed_out_again(tmp_path: Path) -> None:
    """A lease ends with `done`, with `give_back`, or with the process."""
    with opened(tmp_path) as store:
        put(store, b"1", b"2", b"3")
        first = take(store, limit=2)
        assert bodies(first) == [b"1", b"2"]
        assert bodies(take(store)) == [b"3"]
        store.give_back("upstream", [entry.position for entry in first])
        finish(store, first)
        assert bodies(take(store)) == [b"1", b"2"]
        finish(store, first[:1])
    with opened(tmp_path) as store:
        assert bodies(take(store)) == [b"2", b"3"]


def test_what_is_given_back_returns_to_its_place(tmp_path: Path) -> None:
    """Order holds when deliveries fail."""
    with opened(tmp_path) as store:
        put(store, b"1", b"2", b"3", b"4")
        found = take(store, limit=3)
        store.give_back("upstream", [found[2].position])
        store.give_back("upstream", [found[0].position])
        assert bodies(take(store)) == [b"1", b"3", b"4"]


def test_an_urgent_queue_goes_first(tmp_path: Path) -> None:
    """Nothing of a lower priority is handed out while something of a higher one waits."""
    with opened(tmp_path) as store:
        put(store, b"last")
        put(store, b"later", to=[Target("upstream", LATER)])
        put(store, b"now", to=[Target("upstream", 0)])
        assert bodies(take(store, limit=2)) == [b"now", b"later"]
        put(store, b"also now", to=[Target("upstream", 0)])
        assert bodies(take(store)) == [b"also now", b"last"]


def test_a_take_is_limited_by_bytes_but_never_empty(tmp_path: Path) -> None:
    """A message larger than the limit is handed out alone."""
    with opened(tmp_path) as store:
        put(store, b"x" * 1000, b"y" * 1000)
        assert bodies(store.take("upstream", 10, 1)) == [b"x" * 1000]
        assert bodies(store.take("upstream", 10, 10_000)) == [b"y" * 1000]


def test_a_shared_message_is_stored_once(tmp_path: Path) -> None:
    """Its body counts once however many queues it is in, and goes with the last of them."""
    to = [Target("upstream"), Target("edge/a/in"), Target("edge/b/in")]
    with opened(tmp_path) as store:
        put(store, b"x" * 10_000, b"y" * 10_000, to=to)
        assert 20_000 < store.health().bytes < 21_500
        for target in to:
            found = take(store, target.endpoint)
            assert bodies(found) == [b"x" * 10_000, b"y" * 10_000]
            finish(store, found, target.endpoint)
        assert store.health().bytes == 0
    with opened(tmp_path) as store:
        assert store.health().bytes == 0


def test_a_message_without_a_route_is_accounted_for(tmp_path: Path) -> None:
    """It is acknowledged, counted as dropped, and known to the ledger."""
    with opened(tmp_path) as store:
        message = a_message(store)
        assert store.put([(message, [])]).result(ANSWER_SECONDS) == [None]
        assert total(store, "dropped", "no_route") == 1
        trace = store.trace(message.id)
        assert trace is not None
        assert [(event.kind, event.reason) for event in trace.events] == [
            ("received", ""),
            ("dropped", "no_route"),
        ]


def test_the_ledger_tells_all_of_a_message(tmp_path: Path) -> None:
    """Received, stored where, sent, and how it ended there."""
    with opened(tmp_path) as store:
        message = a_message(store)
        store.put([(message, [Target("upstream"), Target("edge/a/in", 3)])]).result(ANSWER_SECONDS)
        finish(store, take(store))
        finish(store, take(store, "edge/a/in"), "edge/a/in", Outcome.REJECTED, "too large")
        trace = store.trace(message.id)
        assert trace is not None
        assert trace.source == "edge/sender"
        assert [(each.kind, each.endpoint, each.reason) for each in trace.events] == [
            ("received", "", ""),
            ("stored", "upstream", ""),
            ("stored", "edge/a/in", ""),
            ("delivered", "upstream", ""),
            ("dropped", "edge/a/in", "too large"),
        ]
        assert store.trace("0" * 20) is None


def test_a_message_on_its_way_is_traced_as_sent(tmp_path: Path) -> None:
    """Until its receiver has answered."""
    with opened(tmp_path) as store:
        put(store, b"1")
        (entry,) = take(store)
        trace = store.trace(entry.message.id)
        assert trace is not None
        assert [event.kind for event in trace.events] == ["received", "stored", "sent"]


def test_a_receiver_is_woken(tmp_path: Path) -> None:
    """By what comes in for it, and not by what comes for others."""
    with opened(tmp_path) as store:
        woken, other = threading.Event(), threading.Event()
        store.subscribe("upstream", woken.set)
        store.subscribe("edge/a/in", other.set)
        put(store, b"1")
        assert woken.wait(ANSWER_SECONDS)
        assert not other.is_set()


def test_a_backlog_is_read_from_disk(tmp_path: Path) -> None:
    """More than memory keeps comes out in order, also when messages come in meanwhile."""
    with opened(tmp_path) as store:
        expected = [b"%d" % number for number in range(6000)]
        for begin in range(0, 6000, 500):
            put(store, *expected[begin : begin + 500])
        found = bodies(take(store, limit=3000))
        put(store, b"6000")
        found += bodies(take(store, limit=9000))
        assert found == [*expected, b"6000"]


def test_ids_grow_over_restarts(tmp_path: Path) -> None:
    """Also when the clock went back meanwhile."""
    clock = TwoClocks()
    with opened(tmp_path, clock=clock) as store:
        before = store.new_id()
        assert before < store.new_id()
    clock.step(days=-365)
    with opened(tmp_path, clock=clock) as store:
        assert before < store.new_id()


def test_a_purge_drops_what_is_not_handed_out(tmp_path: Path) -> None:
    """It says how many, and counts them."""
    with opened(tmp_path) as store:
        put(store, *[b"x"] * 1500)
        out = take(store, limit=3)
        assert store.purge("upstream").result(ANSWER_SECONDS) == 1497
        assert take(store) == []
        assert length(store) == 3
        store.give_back("upstream", [entry.position for entry in out])
        assert len(take(store)) == 3
        assert total(store, "dropped", "purged") == 1497


def test_a_purge_of_no_queue_is_refused(tmp_path: Path) -> None:
    """With the name that was not found."""
    with opened(tmp_path) as store, pytest.raises(StoreError, match="there is no queue 'nowhere'"):
        store.purge("nowhere").result(ANSWER_SECONDS)


def test_peek_changes_nothing(tmp_path: Path) -> None:
    """What is looked at can still be taken."""
    with opened(tmp_path) as store:
        put(store, b"1", b"2")
        assert bodies(store.peek("upstream", 1)) == [b"1"]
        assert bodies(take(store)) == [b"1", b"2"]


def test_documents_are_kept(tmp_path: Path) -> None:
    """By kind and key, replaced and deleted."""
    with opened(tmp_path) as store:
        store.documents.put("twin", "edge/a", b"{}").result(ANSWER_SECONDS)
        store.documents.put("twin", "edge/a", b'{"a":1}').result(ANSWER_SECONDS)
        store.documents.put("scope", "edge/a", b"s").result(ANSWER_SECONDS)
        store.documents.put("twin", "edge/b", b"b").result(ANSWER_SECONDS)
        store.documents.delete("twin", "edge/b").result(ANSWER_SECONDS)
    with opened(tmp_path) as store:
        assert store.documents.get("twin", "edge/a") == b'{"a":1}'
        assert store.documents.get("twin", "edge/b") is None
        assert store.documents.all("scope") == {"edge/a": b"s"}


def test_a_closed_store_refuses(tmp_path: Path) -> None:
    """Nobody is told that something was stored."""
    with opened(tmp_path) as store:
        pass
    assert put(store, b"late") == ["closed"]


def test_a_folder_has_one_hub(tmp_path: Path) -> None:
    """A second one is told so."""
    with opened(tmp_path), pytest.raises(StoreError, match="in use by another hub"):
        opened(tmp_path).__enter__()


def test_what_cannot_be_stored_spoils_nothing_else(tmp_path: Path) -> None:
    """A message that is none, a listener that fails: others are served all the same."""

    def fail() -> None:
        raise RuntimeError

    with opened(tmp_path) as store:
        store.subscribe("upstream", fail)
        broken = replace(a_message(store), body=None)  # type: ignore[arg-type]
        (refusal,) = store.put([(broken, [Target("upstream")])]).result(ANSWER_SECONDS)
        assert refusal is not None
        assert refusal.reason == "storage_failure"
        assert put(store, b"1") == [None]
        assert bodies(take(store)) == [b"1"]
