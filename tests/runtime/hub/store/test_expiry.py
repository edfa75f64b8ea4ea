"""Messages expire by the store's own time, whatever wall clocks do."""

from pathlib import Path

from harness.stores import TwoClocks, bodies, finish, length, opened, put, take, tidy, total
from skerry.hub.store.model import Target

HOUR = Target("upstream", ttl_seconds=3600)
DAY = Target("upstream", ttl_seconds=86400)


def test_an_expired_message_is_gone_at_once(tmp_path: Path) -> None:
    """It is not handed out, and is deleted and counted without anybody asking for it."""
    clock = TwoClocks()
    with opened(tmp_path, clock=clock) as store:
        put(store, b"short", to=[HOUR])
        put(store, b"long", to=[DAY])
        put(store, b"for ever")
        clock.run(3601)
        tidy(store)
        assert length(store) == 2
        assert total(store, "dropped", "ttl_expiry") == 1
        assert bodies(take(store)) == [b"long", b"for ever"]


def test_an_entry_tells_when_it_expires(tmp_path: Path) -> None:
    """In wall time, None when it never does."""
    clock = TwoClocks()
    with opened(tmp_path, clock=clock) as store:
        put(store, b"1", to=[HOUR])
        put(store, b"2")
        clock.run(60)
        due = [entry.expires_at for entry in take(store)]
        assert due == [clock.now().timestamp() + 3540, None]


def test_what_is_handed_out_does_not_expire(tmp_path: Path) -> None:
    """Its receiver may still acknowledge it; given back, it is gone."""
    clock = TwoClocks()
    with opened(tmp_path, clock=clock) as store:
        put(store, b"1", b"2", to=[HOUR])
        first, second = take(store)
        clock.run(4000)
        tidy(store)
        assert length(store) == 2
        finish(store, [first])
        store.give_back("upstream", [second.position])
        assert take(store) == []
        clock.run(2)
        tidy(store)
        assert length(store) == 0
        assert (total(store, "delivered"), total(store, "dropped", "ttl_expiry")) == (1, 1)


def test_a_clock_step_expires_nothing(tmp_path: Path) -> None:
    """A year ahead or back, while the hub runs or is down within one boot."""
    clock = TwoClocks()
    with opened(tmp_path, clock=clock) as store:
        put(store, b"1", to=[HOUR])
        clock.step(days=365)
        tidy(store)
        assert length(store) == 1
        clock.step(days=-730)
        tidy(store)
        assert length(store) == 1
    clock.step(days=365)
    clock.run(3000)
    with opened(tmp_path, clock=clock) as store:
        assert length(store) == 1
        clock.run(601)
        tidy(store)
        assert length(store) == 0


def test_a_reboot_with_a_clock_out_of_its_mind_expires_nothing(tmp_path: Path) -> None:
    """Steps of a year over a reboot are not believed; an hour is."""
    clock = TwoClocks()
    with opened(tmp_path, clock=clock, boot="1") as store:
        put(store, b"1", to=[HOUR])
    for number, days in enumerate((365, -365, -1, 1)):
        clock.step(days=days)
        clock.ran = 5.0
        believed = days == 1
        with opened(tmp_path, clock=clock, boot=str(number + 2)) as store:
            tidy(store)
            assert length(store) == (0 if believed else 1)


def test_a_crash_does_not_lengthen_life(tmp_path: Path) -> None:
    """Within one boot the age goes on from the last mark by the monotonic clock."""
    clock = TwoClocks()
    with opened(tmp_path, clock=clock) as store:
        put(store, b"1", to=[HOUR])
    clock.run(3601)
    with opened(tmp_path, clock=clock) as store:
        assert take(store) == []


def test_a_shared_message_expires_for_each_target(tmp_path: Path) -> None:
    """What is left of it is still whole."""
    clock = TwoClocks()
    with opened(tmp_path, clock=clock) as store:
        put(store, b"1", to=[HOUR, Target("edge/a/in")])
        clock.run(3601)
        tidy(store)
        assert take(store) == []
        found = take(store, "edge/a/in")
        assert bodies(found) == [b"1"]
        finish(store, found, "edge/a/in")
        assert store.health().bytes == 0


def test_many_expire_in_pieces(tmp_path: Path) -> None:
    """More than one transaction takes."""
    clock = TwoClocks()
    with opened(tmp_path, clock=clock) as store:
        put(store, *[b"x"] * 1200, to=[HOUR])
        clock.run(3601)
        for _ in range(4):
            tidy(store)
        assert length(store) == 0
        assert store.health().bytes == 0
