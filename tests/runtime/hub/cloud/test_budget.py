"""A day's bytes: never more than was agreed, and what is urgent first."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.edge_hub import DEVICE, EdgeHub, populate
from harness.edged import until
from harness.lab import SetClock
from harness.stores import ANSWER_SECONDS, opened
from skerry.base.log import get_logger
from skerry.hub.cloud.budget import Budget, cost_bytes
from skerry.hub.store.model import Entry, Message, Position
from skerry.hub.store.store import Store
from skerry.wire.identity import Identity
from skerry.wire.topics import events_topic
from skerry_lab.server import Lab

A = Identity(DEVICE, "a")
DAY = 86400.0


@pytest.fixture
def clock() -> SetClock:
    return SetClock(datetime(2026, 11, 24, 12, tzinfo=UTC))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "store") as made:
        yield made


def entries(*sizes: int) -> list[Entry]:
    """Return messages that cost so many bytes each."""
    made = [Entry(Position(1), Message("1", "edge/a", {}, {}, b"", 0.0), None)]
    carried = cost_bytes(made[0])
    return [
        Entry(Position(n), Message("1", "edge/a", {}, {}, bytes(size - carried), 0.0), None)
        for n, size in enumerate(sizes)
    ]


def budget(store: Store, clock: SetClock, bytes_per_day: int | None) -> Budget:
    return Budget(bytes_per_day, store.documents, clock, get_logger("hub"))


def test_what_fits_goes_in_order(store: Store, clock: SetClock) -> None:
    """Nothing smaller overtakes what does not fit."""
    made = budget(store, clock, 1000)
    assert made.fitting(entries(400, 400, 400, 100)) == 2
    made.spend(entries(400, 400))
    assert made.fitting(entries(400, 100)) == 0
    assert made.fitting(entries(200)) == 1
    made.spend(entries(200))
    assert made.is_spent


def test_the_next_day_has_its_own(store: Store, clock: SetClock) -> None:
    """At midnight, UTC."""
    made = budget(store, clock, 1000)
    made.spend(entries(1000))
    clock.move(DAY / 2 - 1)
    assert made.is_spent
    clock.move(1)
    assert not made.is_spent
    assert made.fitting(entries(1000)) == 1


def test_a_restart_spends_no_more(
    store: Store, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What was spent is kept, and told once a day."""
    budget(store, clock, 1000).spend(entries(900))
    store.documents.put("other", "o", b"").result(ANSWER_SECONDS)
    again = budget(store, clock, 1000)
    for _ in range(3):
        assert again.fitting(entries(200)) == 0
    assert caplog.text.count("messages wait for tomorrow") == 1


def test_a_message_that_no_day_has_room_for_goes_alone(store: Store, clock: SetClock) -> None:
    """As the first of a day: it must not hold up all others for ever."""
    made = budget(store, clock, 1000)
    assert made.fitting(entries(5000, 100)) == 1
    made.spend(entries(5000))
    assert made.fitting(entries(100)) == 0
    clock.move(DAY)
    made.spend(entries(100))
    assert made.fitting(entries(5000)) == 0


@pytest.mark.parametrize("kept", [b"", b"[]", b"{}", b'{"day": 1, "spent": "x"}'])
def test_a_damaged_account_begins_anew(store: Store, clock: SetClock, kept: bytes) -> None:
    """Whatever stands in its place."""
    store.documents.put("hub", "budget", kept).result(ANSWER_SECONDS)
    assert not budget(store, clock, 1000).is_spent


def test_without_a_budget_everything_goes(store: Store, clock: SetClock) -> None:
    """And nothing is written."""
    made = budget(store, clock, None)
    made.spend(entries(10_000))
    assert not made.is_spent
    assert made.fitting(entries(10_000, 10_000)) == 2
    assert store.documents.get("hub", "budget") is None


def test_the_hub_stops_at_its_budget(tmp_path: Path) -> None:
    """The rest stays in its queue, in order."""
    with Lab(tmp_path / "lab") as lab:
        populate(lab)
        with EdgeHub(tmp_path / "hub", lab, message_bytes_per_day=5000) as hub:
            hub.until_ready()
            with hub.device(A) as client:
                assert client.connect().code == 0
                for number in range(20):
                    client.publish(events_topic(DEVICE, "a"), b"%1000d" % number)

            def sent() -> list[bytes]:
                found = lab.store.do(lambda cloud: list(cloud.messages.read(0, 99, 10_000_000)))
                return [event.telemetry.body for event in found]

            def waiting() -> str:
                lines = hub.hub.figures.text().splitlines()
                return "".join(line for line in lines if line.startswith("edgehub_queue_length"))

            until(lambda: waiting().endswith(" 16"), "the rest waits")
            assert sent() == [b"%1000d" % number for number in range(4)]
