"""File systems in files: the same tree gives the same bytes, holes stay holes."""

import hashlib
import os
import subprocess
import uuid
from pathlib import Path

from skerry_factory.filesystems import (
    copy_sparse,
    digest_of_sparse,
    make_ext4,
    make_fat,
    make_sparse,
)

MIB = 1 << 20
OWN = uuid.UUID("11111111-2222-3333-4444-555555555555")


def tree(folder: Path, *, reverse: bool = False) -> Path:
    folder.mkdir()
    names = ["a", "b/c", "b/d e", "z"]
    for name in reversed(names) if reverse else names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"content of {name}\n")
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (1, 1_700_000_000))
    return folder


def ext4(image: Path, source: Path) -> bytes:
    make_sparse(image, 18 * MIB)
    place = {"offset_bytes": MIB, "size_bytes": 16 * MIB}
    make_ext4(image, source, **place, label="X", own=OWN, hash_seed=OWN)
    return image.read_bytes()


def test_ext4_does_not_depend_on_order_or_clock(tmp_path: Path) -> None:
    """Two trees with the same files, made in different order, give the same file system."""
    first = ext4(tmp_path / "1.img", tree(tmp_path / "1"))
    second = ext4(tmp_path / "2.img", tree(tmp_path / "2", reverse=True))
    assert first == second


def test_ext4_is_clean_and_complete(tmp_path: Path) -> None:
    """e2fsck finds nothing, and the files are there."""
    image = tmp_path / "x.img"
    ext4(image, tree(tmp_path / "t"))
    checked = subprocess.run(
        ["e2fsck", "-fn", f"{image}?offset={MIB}"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
    command = ["debugfs", "-R", 'cat "/b/d e"', f"{image}?offset={MIB}"]
    shown = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True)
    assert shown == "content of b/d e\n"


def test_fat_is_the_same_twice_and_readable(tmp_path: Path) -> None:
    """A FAT file system is reproducible, and mtools reads the files."""
    images = [tmp_path / "1.img", tmp_path / "2.img"]
    for number, image in enumerate(images):
        source = tree(tmp_path / f"t{number}", reverse=bool(number))
        make_fat(image, source, size_bytes=64 * MIB, bits=16, label="SEED", own="1234abcd")
    assert images[0].read_bytes() == images[1].read_bytes()
    assert subprocess.check_output(["mtype", "-i", images[0], "::/b/c"]) == b"content of b/c\n"


def test_sparse_copies_keep_holes(tmp_path: Path) -> None:
    """Data lands at its offset, holes take no space."""
    source, target = tmp_path / "s", tmp_path / "t"
    with source.open("xb") as file:
        file.truncate(32 * MIB)
        file.seek(8 * MIB)
        file.write(b"x" * MIB)
    with target.open("xb") as file:
        file.truncate(64 * MIB)
    copy_sparse(source, target, 16 * MIB)
    assert target.stat().st_blocks * 512 < 4 * MIB
    with target.open("rb") as file:
        file.seek(24 * MIB - 1)
        assert file.read(3) == b"\0xx"


def test_sparse_digest_is_the_digest(tmp_path: Path) -> None:
    """Holes count as the zeros that they are, at the start, in the middle and at the end."""
    file = tmp_path / "f"
    with file.open("xb") as stream:
        stream.truncate(5 * MIB + 123)
        stream.seek(2 * MIB)
        stream.write(b"data" * 1000)
    assert digest_of_sparse(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_full_file_has_no_holes(tmp_path: Path) -> None:
    """A file of data alone, and an empty one, are digested as they are."""
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.write_bytes(b"x" * 5000)
    empty.touch()
    assert digest_of_sparse(full) == hashlib.sha256(b"x" * 5000).hexdigest()
    assert digest_of_sparse(empty) == hashlib.sha256(b"").hexdigest()
