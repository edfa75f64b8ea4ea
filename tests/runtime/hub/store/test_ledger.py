"""The ledger: of many messages, within its bounds; counters outlive its rows."""

import os
import random
from collections import Counter
from pathlib import Path

from harness.stores import TwoClocks, a_message, finish, opened, put, small, take, tidy, total
from harness.tiers import Counts
from skerry.hub.store.model import Durability, Entry, FullPolicy, Outcome, Target, aside
from skerry.hub.store.store import Store

ENDPOINTS = ("upstream", "edge/a/in", "edge/b/in")


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


class Traffic:
    """Anything that can happen to messages, by chance; knows who was taken and who refused."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - repeatable
        policy = self.chance.choice(list(FullPolicy))
        self.settings = small(durability=Durability.WRITTEN, max_bytes=12_000, policy=policy)
        self.folder = folder
        self.clock = TwoClocks()
        self.taken: list[str] = []
        self.refused: list[str] = []
        self.out: list[tuple[str, Entry]] = []

    def play(self, steps: int) -> None:
        """Do so many things, then account for every message."""
        begun = 0
        while begun < steps:
            with opened(self.folder, self.settings, self.clock) as store:
                self.out.clear()
                for _ in range(self.chance.randint(1, steps)):
                    begun += 1
                    self.step(store)
                tidy_with(store, self.taken)
                check_accounts(store, self.taken, self.refused)

    def step(self, store: Store) -> None:
        """Do one thing."""
        what = self.chance.choice([self.put, self.put, self.take, self.end, self.end, self.other])
        what(store)

    def put(self, store: Store) -> None:
        items = [(a_message(store, bytes(300)), self.targets()) for _ in range(8)]
        for (message, _), refusal in zip(items, store.put(items).result(10), strict=True):
            (self.taken if refusal is None else self.refused).append(message.id)

    def targets(self) -> list[Target]:
        names = self.chance.sample(ENDPOINTS, self.chance.randint(0, 3))
        return [
            Target(name, self.chance.choice([0, 9]), self.chance.choice([None, 5.0]))
            for name in names
        ]

    def take(self, store: Store) -> None:
        endpoint = self.chance.choice(ENDPOINTS)
        self.out += [(endpoint, each) for each in store.take(endpoint, 5, 1 << 20)]

    def end(self, store: Store) -> None:
        if not self.out:
            return
        endpoint, entry = self.out.pop(self.chance.randrange(len(self.out)))
        way = self.chance.choice(["delivered", "refused", "back", "aside"])
        if way == "back":
            store.give_back(endpoint, [entry.position])
        elif way == "aside":
            store.move(endpoint, [entry.position], aside("edge/sender")).result(10)
        else:
            outcome = Outcome.DELIVERED if way == "delivered" else Outcome.REJECTED
            reason = "" if way == "delivered" else "of the receiver"
            store.done(endpoint, [entry.position], outcome, reason).result(10)

    def other(self, store: Store) -> None:
        if self.chance.random() < 0.5:
            self.clock.run(self.chance.choice([1.0, 10.0]))
            tidy_with(store, self.taken)
        elif queues := store.queues():
            store.purge(self.chance.choice(queues).endpoint).result(10)


def tidy_with(store: Store, taken: list[str]) -> None:
    """Have the store expire what has expired, by two messages without a route."""
    for _ in range(2):
        message = a_message(store)
        store.put([(message, [])]).result(10)
        taken.append(message.id)


def check_accounts(store: Store, taken: list[str], refused: list[str]) -> None:
    """Each entry of each message has come in once and ended at most once, or waits; sums agree."""
    waiting = Counter(
        (entry.message.id, state.endpoint)
        for state in {each.endpoint: each for each in store.queues()}.values()
        for entry in store.peek(state.endpoint, 10_000)
    )
    sums: Counter[tuple[str, str, str]] = Counter()
    for message_id in taken:
        found = store.trace(message_id)
        assert found is not None, message_id
        left: Counter[str] = Counter()
        for event in found.events:
            if event.kind == "sent":
                continue
            sums[event.kind, event.endpoint, event.reason] += 1
            if event.kind == "stored":
                left[event.endpoint] += 1
            elif event.endpoint:
                left[event.endpoint] -= 1
        if [event.kind for event in found.events][:2] == ["received", "dropped"]:
            assert found.events[1].reason == "no_route"
        for endpoint, count in left.items():
            assert count == waiting.pop((message_id, endpoint), 0), (message_id, endpoint)
    assert not waiting
    for message_id in refused:
        assert store.trace(message_id) is None
    counted: Counter[tuple[str, str, str]] = Counter()
    for each in store.totals():
        if each.outcome != "shared" and each.count:
            counted[each.outcome, each.endpoint, each.reason] += each.count
    assert counted == sums


def test_every_message_is_accounted_for(tmp_path: Path, counts: Counts) -> None:
    """Whatever happens to it: delivered, refused, expired, evicted, purged, moved, restarted."""
    reasons: set[str] = set()
    for seed in range(counts.of("hub ledger: random traffic", reduced=8, full=300)):
        traffic = Traffic(tmp_path / str(seed), seed)
        traffic.play(60)
        with opened(tmp_path / str(seed), traffic.settings, traffic.clock) as store:
            reasons |= {each.reason for each in store.totals() if each.outcome == "dropped"}
    assert reasons == {"no_route", "ttl_expiry", "evicted", "purged", "of the receiver"}
