"""Damaged databases that were moved aside: kept for people, and never at the cost of messages."""

from pathlib import Path

import pytest

from harness.stores import opened, small, tidy
from skerry.hub.store.model import StoreSettings


def spoil(folder: Path, size: int = 20_000) -> None:
    """Leave a file that is no database in the place of the store."""
    (folder / "hub.db").write_bytes(b"x" * size)


def test_only_the_newest_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Numbers go on, over 9 as well, so that the oldest is known."""
    for number in range(1, 13):
        (tmp_path / "store").mkdir(exist_ok=True)
        spoil(tmp_path / "store")
        with opened(tmp_path / "store") as store:
            newest = f"quarantine-{number}"
            assert store.health().quarantined[-1] == newest
    with opened(tmp_path / "store") as store:
        assert store.health().quarantined == ("quarantine-10", "quarantine-11", "quarantine-12")
        assert (
            store.health().problems[0].endswith("quarantine-10 holds a damaged store, 20000 bytes")
        )
    assert "a damaged store is removed" in caplog.text
    assert "quarantine-9" in caplog.text


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        (30_000, ("quarantine-2", "quarantine-3")),
        (90_000, ("quarantine-3",)),
        (200_000, ("quarantine-3",)),
    ],
    ids=["two fit", "the newest leaves no room", "the newest alone is too large"],
)
def test_older_ones_go_when_all_are_too_much(
    tmp_path: Path, size: int, kept: tuple[str, ...]
) -> None:
    """The newest stays: it may hold what could not be taken over."""
    settings = small(quarantine_bytes=100_000)
    for each in (60_000, 60_000, size):
        spoil(tmp_path, each)
        with opened(tmp_path, settings):
            pass
    with opened(tmp_path, settings) as store:
        assert store.health().quarantined == kept


def test_a_full_disk_takes_them_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One after another, before messages are refused for long."""
    for _ in range(2):
        spoil(tmp_path)
        with opened(tmp_path):
            pass
    with opened(tmp_path, StoreSettings(min_free_bytes=1 << 60)) as store:
        for _ in range(3):
            tidy(store)
        assert store.health().quarantined == ()
    assert caplog.text.count("the disk is full") == 2


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    """What somebody has put there under a name of their own."""
    (tmp_path / "quarantine-mine").mkdir()
    for _ in range(5):
        spoil(tmp_path)
        with opened(tmp_path):
            pass
    assert (tmp_path / "quarantine-mine").is_dir()
