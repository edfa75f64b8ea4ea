"""The cache: whole entries only, keys that follow their inputs, one build at a time."""

import fcntl
import threading
from pathlib import Path

import pytest

from skerry_factory.cache import Cache, digest_of_files, exclusive, key_of
from skerry_factory.errors import BusyError


def test_a_result_is_made_once(tmp_path: Path) -> None:
    """The second fetch of a key does not make it again."""
    cache, made = Cache(tmp_path), []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "x").write_text("1")

    first = cache.fetch("step", "k", make)
    assert cache.fetch("step", "k", make) == first
    assert (len(made), (first / "x").read_text()) == (1, "1")


def test_a_failed_step_leaves_no_entry(tmp_path: Path) -> None:
    """What was half made is not an entry, and the next build removes it."""
    cache = Cache(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").write_text("1")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.fetch("step", "k", fail)
    assert not cache.has("step", "k")
    cache.remove_leftovers()
    assert not (tmp_path / "making").exists()


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    """A second holder is told so, or waits when it can say that it does."""
    file = tmp_path / "lock"
    with exclusive(file, "busy"):
        with pytest.raises(BusyError, match="busy"), exclusive(file, "busy"):
            pass
        waiting, entered = threading.Event(), threading.Event()

        def second() -> None:
            with exclusive(file, "busy", waiting.set):
                entered.set()

        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(5)
        assert not entered.is_set()
    thread.join(5)
    assert entered.is_set()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """The lock is the kernel's: a file left behind does not lock anything."""
    file = tmp_path / "lock"
    file.touch()
    with exclusive(file, "busy"), file.open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("change", ["content", "name", "mode", "link", "new file"])
def test_a_digest_follows_what_matters(tmp_path: Path, change: str) -> None:
    """Names, contents, executable bits and links count; times and compiled files do not."""
    folder = tmp_path / "f"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "a").write_text("1")
    before = digest_of_files([folder])
    (folder / "__pycache__" / "a.pyc").write_text("x")
    (folder / "a").write_text("1")
    assert digest_of_files([folder]) == before
    match change:
        case "content":
            (folder / "a").write_text("2")
        case "name":
            (folder / "a").rename(folder / "b")
        case "mode":
            (folder / "a").chmod(0o755)
        case "link":
            (folder / "a").unlink()
            (folder / "a").symlink_to("1")
        case "new file":
            (folder / "b").touch()
    assert digest_of_files([folder]) != before


def test_keys_do_not_depend_on_the_order_of_a_table() -> None:
    """The same inputs give the same key, different ones a different key."""
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of("a", "b") != key_of("ab")
