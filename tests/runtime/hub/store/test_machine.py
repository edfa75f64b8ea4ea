"""Any sequence of calls, against a model of a few lines."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from harness.stores import ANSWER_SECONDS, TwoClocks, a_message, small, tidy, total
from harness.tiers import Counts
from skerry.base.log import get_logger
from skerry.hub.store.model import Durability, Entry, Outcome, Target
from skerry.hub.store.store import Store

ENDPOINTS = ("upstream", "edge/a/in")
TARGETS = st.lists(
    st.builds(
        Target,
        st.sampled_from(ENDPOINTS),
        st.sampled_from([0, 5, 2_000_000_000]),
        st.sampled_from([None, 10.0, 100.0]),
    ),
    max_size=3,
    unique_by=lambda target: target.endpoint,
)


@dataclass
class Waits:
    """One entry, as the model knows it."""

    id: str
    endpoint: str
    priority: int
    expires: float | None
    out: Entry | None = None


class StoreMachine(RuleBasedStateMachine):
    """The model is the list of all that waits, in the order in which it came."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = TwoClocks()
        self.waits: list[Waits] = []
        self.stored = self.delivered = self.dropped = self.received = 0
        self.open()

    def open(self) -> None:
        limits = small(durability=Durability.WRITTEN)
        self.store = Store(
            Path(self.folder.name), limits, self.clock, get_logger("hub"), lambda: "b"
        )
        self.store.open()

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(messages=st.lists(TARGETS, max_size=8))
    def put(self, messages: list[list[Target]]) -> None:
        items = [(a_message(self.store), targets) for targets in messages]
        assert self.store.put(items).result(ANSWER_SECONDS) == [None] * len(items)
        for message, targets in items:
            self.received += 1
            for each in targets:
                ttl = each.ttl_seconds
                expires = None if ttl is None else self.clock.ran + ttl
                self.waits.append(Waits(message.id, each.endpoint, each.priority, expires))
                self.stored += 1

    @rule(endpoint=st.sampled_from(ENDPOINTS), limit=st.integers(1, 5))
    def take(self, endpoint: str, limit: int) -> None:
        found = self.store.take(endpoint, limit, 1 << 30)
        expected = self.free(endpoint)[:limit]
        assert [entry.message.id for entry in found] == [each.id for each in expected]
        for entry, each in zip(found, expected, strict=True):
            each.out = entry

    @precondition(lambda self: self.out())
    @rule(data=st.data(), outcome=st.sampled_from(list(Outcome)))
    def done(self, data: st.DataObject, outcome: Outcome) -> None:
        for endpoint, entries in self.chosen(data):
            positions = [each.out.position for each in entries if each.out]
            self.store.done(endpoint, positions, outcome).result(ANSWER_SECONDS)
            self.waits = [each for each in self.waits if each not in entries]
            if outcome is Outcome.DELIVERED:
                self.delivered += len(entries)
            else:
                self.dropped += len(entries)

    @precondition(lambda self: self.out())
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        for endpoint, entries in self.chosen(data):
            self.store.give_back(endpoint, [each.out.position for each in entries if each.out])
            for each in entries:
                each.out = None

    @rule(seconds=st.sampled_from([1.0, 20.0, 200.0]))
    def run(self, seconds: float) -> None:
        self.clock.run(seconds)

    @rule(days=st.sampled_from([-365, 365]))
    def step(self, days: int) -> None:
        self.clock.step(days)

    @rule(endpoint=st.sampled_from(ENDPOINTS), data=st.data())
    def purge(self, endpoint: str, data: st.DataObject) -> None:
        del data
        self.expire()
        if any(state.endpoint == endpoint for state in self.store.queues()):
            count = self.store.purge(endpoint).result(ANSWER_SECONDS)
            gone = self.free(endpoint)
            assert count == len(gone)
            self.waits = [each for each in self.waits if each not in gone]
            self.dropped += count

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()
        for each in self.waits:
            each.out = None

    @invariant()
    def accounts_agree(self) -> None:
        self.expire()
        lengths = {
            (state.endpoint, state.priority): state.length
            for state in self.store.queues()
            if state.length
        }
        expected: dict[tuple[str, int], int] = {}
        for each in self.waits:
            key = each.endpoint, each.priority
            expected[key] = expected.get(key, 0) + 1
        assert lengths == expected
        assert total(self.store, "received") == self.received
        assert total(self.store, "stored") == self.stored
        assert total(self.store, "delivered") == self.delivered
        dropped = sum(e.count for e in self.store.totals() if e.outcome == "dropped" and e.endpoint)
        assert dropped == self.dropped
        assert (self.store.health().bytes == 0) == (not self.waits)

    def expire(self) -> None:
        """Let both forget what has expired and is not handed out."""
        self.clock.run(1.001)
        tidy(self.store)
        left = [each for each in self.waits if each.out or not self.expired(each)]
        self.dropped += len(self.waits) - len(left)
        self.waits = left

    def expired(self, each: Waits) -> bool:
        return each.expires is not None and each.expires <= self.clock.ran

    def free(self, endpoint: str) -> list[Waits]:
        """Return what may be handed out, in the order in which it must be."""
        mine = [
            each for each in self.waits
            if each.endpoint == endpoint and each.out is None and not self.expired(each)
        ]  # fmt: skip
        return sorted(mine, key=lambda each: each.priority)

    def out(self) -> list[Waits]:
        return [each for each in self.waits if each.out]

    def chosen(self, data: st.DataObject) -> list[tuple[str, list[Waits]]]:
        """Return some of what is handed out, by endpoint."""
        chosen = data.draw(st.lists(st.sampled_from(range(len(self.out()))), unique=True))
        entries = [self.out()[index] for index in chosen]
        return [
            (endpoint, [each for each in entries if each.endpoint == endpoint])
            for endpoint in ENDPOINTS
        ]


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_any_sequence_of_calls() -> None:
    """Queues, order, leases, expiry and counters are those of the model."""
    run(examples=6, steps=20)


@pytest.mark.faults
def test_many_sequences_of_calls(counts: Counts) -> None:
    """The same, for longer."""
    run(examples=counts.of("hub store: sequences of calls", reduced=20, full=1000), steps=60)
