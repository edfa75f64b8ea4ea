"""The reader of ext4: what mke2fs wrote is read back, and damage is told and nothing else."""

import os
import random
import uuid
from pathlib import Path

import pytest

from harness.tiers import Counts
from skerry_factory.contents.ext4 import Ext4
from skerry_factory.contents.model import Entry
from skerry_factory.contents.opening import opened
from skerry_factory.errors import FactoryError
from skerry_factory.filesystems import make_ext4, make_sparse

OFFSET, SIZE = 1 << 20, 8 << 20


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every kind of thing that the reader tells apart."""
    root = tmp_path_factory.mktemp("tree")
    (root / "etc").mkdir(mode=0o1777)
    (root / "etc/empty").touch()
    (root / "etc/large").write_bytes(random.Random(1).randbytes(700_001))  # noqa: S311 - seeded
    with (root / "etc/sparse").open("wb") as file:
        for at in range(0, 2_000_000, 200_000):
            file.seek(at)
            file.write(b"here")
    (root / "etc/sparse").chmod(0o4750)
    os.link(root / "etc/large", root / "etc/again")
    (root / "short").symlink_to("etc/large")
    (root / "long").symlink_to("x/" * 50 + "ü")
    os.mkfifo(root / "pipe")
    many = root / "many"
    many.mkdir()
    for number in range(400):
        (many / f"a name that fills the blocks of the folder {number:04}").touch()
    os.setxattr(root / "etc/empty", "user.note", b"in the inode")
    os.setxattr(root / "etc/large", "user.long", b"in a block" * 60)
    return root


@pytest.fixture(scope="module")
def disk(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("disk") / "disk.raw"
    make_sparse(file, OFFSET + SIZE)
    own = uuid.UUID(int=1)
    make_ext4(
        file, tree, offset_bytes=OFFSET, size_bytes=SIZE, label="X", own=own, hash_seed=own
    )  # fmt: skip
    return file


def contents(entries: dict[str, Entry]) -> dict[str, tuple[Entry, bytes]]:
    return {path: (entry, entry.read() if entry.size_bytes else b"") for path, entry in
            entries.items() if path != "lost+found"}  # fmt: skip


def test_what_was_written_is_read(tree: Path, disk: Path) -> None:
    """Kinds, modes, owners, links, attributes and contents are those of the tree."""
    with opened(tree) as source:
        expected = contents(dict(source.entries))
    assert contents(Ext4(disk, OFFSET).entries()) == expected


def test_another_place_has_no_file_system(disk: Path) -> None:
    """Where there is none, that is said."""
    with pytest.raises(FactoryError, match="at byte 0: no ext4 file system"):
        Ext4(disk, 0)


def test_a_cut_file_is_told(disk: Path, tmp_path: Path) -> None:
    """A disk that ends early is not read as zeros."""
    cut = tmp_path / "cut.raw"
    cut.write_bytes(disk.read_bytes()[: OFFSET + (64 << 10)])
    with pytest.raises(FactoryError, match="goes on after the end of the file"):
        Ext4(cut, OFFSET).entries()


def test_another_layout_is_refused(disk: Path, tmp_path: Path) -> None:
    """A feature that is not understood is refused by its number."""
    other = tmp_path / "other.raw"
    data = bytearray(disk.read_bytes())
    data[OFFSET + 1024 + 0x61] |= 0x80
    other.write_bytes(data)
    with pytest.raises(FactoryError, match="features 0x8000 cannot be read"):
        Ext4(other, OFFSET)


def test_damage_is_never_another_error(disk: Path, tmp_path: Path, counts: Counts) -> None:
    """Whatever bytes of the tables are changed: entries, or an error for people."""
    chance, other = random.Random(7), tmp_path / "other.raw"  # noqa: S311 - seeded
    whole = disk.read_bytes()
    for _ in range(counts.of("damaged ext4", reduced=30, full=500)):
        data = bytearray(whole)
        for _ in range(40):
            data[OFFSET + 1024 + chance.randrange(400 << 10)] = chance.randrange(256)
        other.write_bytes(data)
        try:
            for entry in Ext4(other, OFFSET).entries().values():
                entry.read()
        except FactoryError:
            continue
