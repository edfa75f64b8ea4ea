"""Writes file systems into files, from folders; no mount, no loop device.

The same folder gives the same bytes. mke2fs before 1.47.1 takes access and change times from the
disk of the build, so debugfs sets them afterwards in one pass.
"""

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from skerry_factory.command import run_command
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError

CHUNK_BYTES = 1 << 20
ROOT_INODE = 2
FIRST_FREE_INODE = 11


def make_sparse(file: Path, size_bytes: int) -> None:
    """Make a new file that is one hole."""
    with file.open("xb") as stream:
        stream.truncate(size_bytes)


def make_ext4(
    disk: Path,
    tree: Path,
    *,
    offset_bytes: int,
    size_bytes: int,
    label: str,
    own: uuid.UUID,
    hash_seed: uuid.UUID,
) -> None:
    """Write an ext4 file system with the content of `tree` into a part of a disk that is a hole."""
    options = f"offset={offset_bytes},hash_seed={hash_seed}"
    options += ",lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    command = ["mke2fs", "-q", "-t", "ext4", "-d", str(tree), "-L", label, "-U", str(own)]
    faked = {"E2FSPROGS_FAKE_TIME": str(SOURCE_DATE_EPOCH)}
    size = f"{size_bytes // 1024}k"
    run_command([*command, "-m", "0", "-E", options, str(disk), size], environment=faked)
    _fix_times(f"{disk}?offset={offset_bytes}")


def _fix_times(device: str) -> None:
    # not dumpe2fs: that of e2fsprogs 1.47.2 knows no offsets
    listing = run_command(["debugfs", "-R", "show_super_stats -h", device])
    inodes = _field(listing, "Inode count") - _field(listing, "Free inodes")
    stamp = datetime.fromtimestamp(SOURCE_DATE_EPOCH, UTC).strftime("%Y%m%d%H%M%S")
    numbers = [ROOT_INODE, *range(FIRST_FREE_INODE, inodes + 1)]
    script = "".join(f"sif <{n}> atime {stamp}\nsif <{n}> ctime {stamp}\n" for n in numbers)
    faked = {"E2FSPROGS_FAKE_TIME": str(SOURCE_DATE_EPOCH)}
    run_command(["debugfs", "-w", "-f", "-", device], stdin=script, environment=faked)


def _field(listing: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+)$", listing, re.MULTILINE)
    if match is None:
        # debugfs ends with 0 whatever happens
        raise FactoryError(f"debugfs shows no {name.lower()!r} of the new file system: {listing}")
    return int(match[1])


def make_fat(image: Path, tree: Path, *, size_bytes: int, bits: int, label: str, own: str) -> None:
    """Write a FAT file system with the content of `tree` into a new sparse file.

    A file of its own, because mkfs.vfat takes the geometry from the whole file, offset or not.
    """
    command = ["mkfs.vfat", "--invariant", f"-F{bits}", "-i", own, "-n", label]
    run_command([*command, "-C", str(image), str(size_bytes // 1024)])
    for folder, file in _content(tree):
        os.utime(file, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH))
        target = f"::/{file.relative_to(tree)}"
        if folder:
            run_command(["mmd", "-i", str(image), target])
        else:
            run_command(["mcopy", "-m", "-i", str(image), str(file), target])


def _content(tree: Path) -> Iterator[tuple[bool, Path]]:
    """Yield `(is a folder, path)`, parents first, in a fixed order."""
    for path in sorted(tree.rglob("*")):
        yield path.is_dir(), path


def copy_sparse(source: Path, target: Path, offset_bytes: int) -> None:
    """Copy the data of a sparse file into another one at an offset; holes stay holes."""
    _copy_data(source, target, 0, source.stat().st_size, offset_bytes)


def copy_sparse_range(source: Path, target: Path, start_bytes: int, size_bytes: int) -> None:
    """Copy a range of a sparse file to the start of another one; holes stay holes."""
    _copy_data(source, target, start_bytes, start_bytes + size_bytes, -start_bytes)


def _copy_data(source: Path, target: Path, first: int, last: int, shift: int) -> None:
    with source.open("rb") as reader, target.open("r+b") as writer:
        for start, end, is_data in _extents(reader.fileno()):
            start, end = max(start, first), min(end, last)
            if is_data and start < end:
                _copy_range(reader.fileno(), writer.fileno(), start, end, shift)


def digest_of_sparse(file: Path) -> str:
    """Return the sha256 of a sparse file without reading its holes."""
    digest, zeros = hashlib.sha256(), bytes(CHUNK_BYTES)
    with file.open("rb", buffering=0) as reader:
        for start, end, is_data in _extents(reader.fileno()):
            for at in range(start, end, CHUNK_BYTES):
                length = min(CHUNK_BYTES, end - at)
                piece = os.pread(reader.fileno(), length, at) if is_data else zeros[:length]
                digest.update(piece)
    return digest.hexdigest()


def _extents(descriptor: int) -> Iterator[tuple[int, int, bool]]:
    """Yield `(start, end, is data)` of a file from its first byte to its last."""
    at, size = 0, os.fstat(descriptor).st_size
    while at < size:
        try:
            data = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = size
        if data > at:
            yield at, data, False
        if data < size:
            at = os.lseek(descriptor, data, os.SEEK_HOLE)
            yield data, at, True
        else:
            at = size


def _copy_range(reader: int, writer: int, start: int, end: int, offset: int) -> None:
    while start < end:
        start += os.copy_file_range(reader, writer, end - start, start, offset + start)
