"""A full store: what is refused, what is dropped, and how it recovers."""

from pathlib import Path

from harness.stores import TwoClocks, bodies, finish, length, opened, put, small, take, total
from skerry.hub.store.model import FullPolicy, StoreSettings, Target

BODY = 1000
ROOM_FOR_FIVE = small(max_bytes=5 * (BODY + 200))
RING = small(max_bytes=5 * (BODY + 200), policy=FullPolicy.DROP_OLDEST)


def body(number: int) -> bytes:
    return b"%04d" % number * (BODY // 4)


def numbers(found: list[bytes]) -> list[int]:
    return [int(each[:4]) for each in found]


def test_a_full_store_refuses_what_is_new(tmp_path: Path) -> None:
    """With the reason; when there is room again it takes messages again."""
    with opened(tmp_path, ROOM_FOR_FIVE) as store:
        reasons = put(store, *map(body, range(8)))
        assert reasons == [None] * 5 + ["store_full"] * 3
        finish(store, take(store, limit=2))
        assert put(store, body(8)) == [None]
        assert numbers(bodies(take(store))) == [2, 3, 4, 8]


def test_limits_change_while_it_is_open(tmp_path: Path) -> None:
    """Less, another policy, and back to what the settings say."""
    with opened(tmp_path) as store:
        store.limit(ROOM_FOR_FIVE.max_bytes, FullPolicy.REJECT_NEW)
        assert put(store, *map(body, range(6))) == [None] * 5 + ["store_full"]
        assert store.health().max_bytes == ROOM_FOR_FIVE.max_bytes
        store.limit(ROOM_FOR_FIVE.max_bytes, FullPolicy.DROP_OLDEST)
        assert put(store, body(6)) == [None]
        assert length(store) == 5
        store.limit(None, FullPolicy.REJECT_NEW)
        assert put(store, *map(body, range(7, 12))) == [None] * 5
        assert numbers(bodies(take(store))) == [1, 2, 3, 4, *range(6, 12)]


def test_a_refusal_says_what_to_do(tmp_path: Path) -> None:
    """For people, with the numbers."""
    from harness.stores import a_message

    with opened(tmp_path, small(max_bytes=10)) as store:
        (refusal,) = store.put([(a_message(store), [Target("upstream")])]).result(10)
        assert refusal is not None
        assert refusal.text == (
            "0 bytes of messages wait, at most 10 may; drain a queue, purge it or raise the limit"
        )


def test_the_oldest_of_the_lowest_priority_is_dropped(tmp_path: Path) -> None:
    """Never what is more urgent than what comes, never what is handed out."""
    with opened(tmp_path, RING) as store:
        put(store, body(0), body(1), to=[Target("upstream", 1)])
        put(store, body(2), body(3), body(4), to=[Target("edge/a/in", 5)])
        (out,) = take(store, "edge/a/in", limit=1)
        assert put(store, body(5), to=[Target("upstream", 1)]) == [None]
        assert put(store, body(6), to=[Target("upstream", 1)]) == [None]
        assert put(store, body(7), to=[Target("edge/a/in", 5)]) == ["store_full"]
        assert put(store, body(8), to=[Target("upstream", 1)]) == [None]
        assert numbers(bodies(take(store))) == [1, 5, 6, 8]
        assert total(store, "dropped", "evicted") == 3
        finish(store, [out], "edge/a/in")
        assert length(store, "edge/a/in") == 0


def test_a_ring_keeps_the_newest(tmp_path: Path) -> None:
    """One queue at its cap drops from its head, batch by batch."""
    with opened(tmp_path, RING) as store:
        for begin in range(0, 30, 3):
            assert put(store, *map(body, range(begin, begin + 3))) == [None] * 3
        assert numbers(bodies(take(store))) == [25, 26, 27, 28, 29]
        assert total(store, "stored") == 30
        assert total(store, "dropped", "evicted") == 25


def test_a_disk_without_room_is_left_alone(tmp_path: Path) -> None:
    """Below the free space to keep, messages are refused as `disk_full`."""
    with opened(tmp_path, StoreSettings(min_free_bytes=1 << 60)) as store:
        assert put(store, b"1") == ["disk_full"]
        assert store.health().full_in_seconds is None


def test_a_forecast_says_when_the_store_is_full(tmp_path: Path) -> None:
    """At the rate of the last minute; nothing when it does not grow."""
    clock = TwoClocks()
    with opened(tmp_path, small(max_bytes=100_000), clock) as store:
        put(store)
        put(store, *map(body, range(10)))
        clock.run(10)
        (state,) = store.queues()
        held = store.health().bytes
        assert state.in_rate == 1.0
        assert state.full_in_seconds == (100_000 - held) / (held / 10)
        finish(store, take(store))
        (state,) = store.queues()
        assert (state.out_rate, state.full_in_seconds) == (1.0, None)
