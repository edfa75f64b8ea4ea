"""Atomic writes: the old content or the new, with the right owner and mode from the first byte."""

import os
from pathlib import Path

import pytest

from skerry.base.files import (
    FileTooLargeError,
    read_limited,
    remove,
    switch_symlink,
    write_atomic,
)


def test_write_atomic_replaces_content_and_mode(tmp_path: Path) -> None:
    """A second write replaces the whole content and sets its own mode."""
    path = tmp_path / "key"
    write_atomic(path, b"old old old", mode=0o644)
    write_atomic(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_write_atomic_sets_the_owner(tmp_path: Path) -> None:
    """Owner and group given are those of the file."""
    path = tmp_path / "owned"
    write_atomic(path, b"x", mode=0o640, uid=os.getuid(), gid=os.getgid())
    assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())


def test_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """When the rename fails, the target stays and no temporary file remains."""
    target = tmp_path / "folder"
    target.mkdir()
    (target / "inside").write_text("kept")
    with pytest.raises(OSError, match="folder"):
        write_atomic(target, b"x", mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (target / "inside").read_text() == "kept"


def test_switch_symlink_replaces_an_existing_link(tmp_path: Path) -> None:
    """The link points to the new target as it was written, relative or not."""
    link = tmp_path / "current"
    switch_symlink(link, "generations/1")
    switch_symlink(link, "generations/2")
    assert str(link.readlink()) == "generations/2"
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


def test_switch_symlink_never_replaces_a_folder(tmp_path: Path) -> None:
    """A folder in the link's place is an error, and the temporary link goes away."""
    (tmp_path / "current").mkdir()
    with pytest.raises(IsADirectoryError):
        switch_symlink(tmp_path / "current", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


def test_remove_is_quiet_about_a_missing_file(tmp_path: Path) -> None:
    """Removing twice is the same as removing once."""
    path = tmp_path / "gone"
    path.write_text("x")
    remove(path)
    remove(path)
    assert not path.exists()


def test_read_limited_names_the_limit(tmp_path: Path) -> None:
    """A file over the limit is refused with both sizes in the message."""
    path = tmp_path / "big"
    path.write_bytes(b"x" * 11)
    with pytest.raises(FileTooLargeError, match="has 11 bytes, expected at most 10"):
        read_limited(path, 10)
    assert read_limited(path, 11) == b"x" * 11
