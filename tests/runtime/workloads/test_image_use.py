"""What edged remembers of the images that it brought."""

from datetime import timedelta
from pathlib import Path

import pytest

from harness.clock import MovableClock
from skerry.workloads.image_use import ImageUse

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
DAY = 86400


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def use(tmp_path: Path, clock: MovableClock) -> ImageUse:
    return ImageUse(tmp_path / "gc", clock)


def test_an_image_ages_from_its_last_use(use: ImageUse, clock: MovableClock) -> None:
    """The oldest come first; one that was touched is young again."""
    use.brought(OLD)
    clock.move(timedelta(days=1))
    use.brought(NEW)
    clock.move(timedelta(days=1, seconds=1))
    assert use.older_than(DAY) == [OLD, NEW]
    use.touched({OLD})
    assert use.older_than(DAY) == [NEW]
    use.forget(NEW)
    use.forget(NEW)
    assert use.older_than(0) == []


def test_what_edged_has_not_brought_is_not_its_to_age(use: ImageUse, tmp_path: Path) -> None:
    """An image that a person loaded gets no line."""
    use.touched({OLD})
    assert not (tmp_path / "gc").exists()


def test_a_use_within_the_hour_costs_no_write(
    use: ImageUse, clock: MovableClock, tmp_path: Path
) -> None:
    """Ages are counted in days, and flash wears out."""
    use.brought(OLD)
    before = (tmp_path / "gc/image_use").stat().st_ino
    clock.move(timedelta(minutes=59))
    use.touched({OLD})
    assert (tmp_path / "gc/image_use").stat().st_ino == before


def test_a_time_in_the_future_is_put_right(use: ImageUse, clock: MovableClock) -> None:
    """A clock that was wrong keeps no image for years."""
    use.brought(OLD)
    clock.move(timedelta(days=-400))
    use.touched({OLD})
    clock.move(timedelta(days=2))
    assert use.older_than(DAY) == [OLD]


def test_what_cannot_be_read_is_passed_over(use: ImageUse, tmp_path: Path) -> None:
    """Broken lines and a broken date: nothing is removed for them."""
    (tmp_path / "gc").mkdir()
    lines = f"{OLD} 1\nsha256:zz 1\n{NEW}\n\xff\n".encode("latin-1")
    (tmp_path / "gc/image_use").write_bytes(lines)
    (tmp_path / "gc/collected").write_text("yesterday")
    assert use.older_than(DAY) == [OLD]
    assert use.last_collection() is None


def test_the_last_collection_is_kept(use: ImageUse, clock: MovableClock, tmp_path: Path) -> None:
    """Also by the next edged; one in the future counts as none."""
    use.collected()
    assert ImageUse(tmp_path / "gc", clock).last_collection() == clock.now()
    clock.move(timedelta(days=-1))
    assert use.last_collection() is None
