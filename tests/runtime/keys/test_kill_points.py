"""Key files survive kill -9 at every system call that changes them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.kill_points import kill_at_every_write
from skerry.base.files import id_file_name
from skerry.base.log import get_logger
from skerry.keys.material import FileKey
from skerry.keys.model import PairAlgorithm
from skerry.keys.store import KeyStore

LOG = get_logger("keyd")
OLD, NEW = b"o" * 32, b"n" * 32


def import_key(folder: Path) -> None:
    """Replace the key `a` by other bytes."""
    KeyStore(folder, {}, LOG).put_symmetric("a", NEW)


def make_pair(folder: Path) -> None:
    """Make the key pair `p`."""
    KeyStore(folder, {}, LOG).create_pair("p", PairAlgorithm.EC_P256)


def move_key(folder: Path) -> None:
    """Give `b`, the new key, the id `a`."""
    KeyStore(folder, {}, LOG).move("b", "a")


def delete_key(folder: Path) -> None:
    """Remove the key `b`."""
    KeyStore(folder, {}, LOG).delete("b")


@pytest.mark.parametrize(
    ("work", "calls"),
    [
        pytest.param(import_key, {"create", "write", "fsync", "rename"}, id="import"),
        pytest.param(make_pair, {"create", "write", "fsync", "rename"}, id="make a pair"),
        pytest.param(move_key, {"rename", "fsync"}, id="move"),
        pytest.param(delete_key, {"unlink", "fsync"}, id="delete"),
    ],
)
def test_a_kill_leaves_the_old_key_or_the_new(
    tmp_path: Path, work: Callable[[Path], None], calls: set[str]
) -> None:
    """Wherever keyd is killed, each key is whole: as it was, or as it should be; never neither."""
    folder = tmp_path / "state"

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        store = KeyStore(folder, {}, LOG)
        store.put_symmetric("a", OLD)
        store.put_symmetric("b", NEW)

    def check() -> None:
        store = KeyStore(folder, {}, LOG)
        assert store.symmetric("a") in (FileKey(OLD), FileKey(NEW))
        if work is move_key:
            assert store.has("b") == (store.symmetric("a") == FileKey(OLD))
        if store.has("b"):
            assert store.symmetric("b") == FileKey(NEW)
        if store.has("p"):
            store.pair("p")
        known = {id_file_name(key_id, ".key") for key_id in "abp"}
        assert {path.name for path in (folder / "keys").iterdir()} <= known

    found = kill_at_every_write(prepare, lambda: work(folder), check)
    assert calls <= set(found.calls)


def test_a_careless_write_is_found(tmp_path: Path) -> None:
    """The harness itself: a file written in place is seen empty, and the call is named."""
    path = tmp_path / "file"

    def check() -> None:
        assert path.read_bytes() in (OLD, NEW)

    with pytest.raises(AssertionError) as caught:
        kill_at_every_write(lambda: careful(path), lambda: careless(path), check)
    assert caught.value.__notes__ == ["run 1, killed at 'write'; before it: ['create']"]


def careless(path: Path) -> None:
    """Write in place."""
    path.write_bytes(NEW)


def test_work_that_fails_is_shown(tmp_path: Path) -> None:
    """The child's traceback reaches the test."""
    with pytest.raises(AssertionError, match="IsADirectoryError"):
        kill_at_every_write(lambda: None, lambda: careless(tmp_path), lambda: None)


def careful(path: Path) -> None:
    """Lay out the old content."""
    path.write_bytes(OLD)
