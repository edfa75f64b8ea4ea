"""The block map of a disk: what a writer such as bmaptool may leave out (bmap format 2.0).

A hole of the file is not enough to go by: mke2fs and mkfs.vfat leave holes where a table must read
as zeros, and a used disk holds something else there. So all is written but what a file system
calls free and what is zero besides.
"""

import hashlib
import os
import re
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from skerry_factory.command import run_command
from skerry_factory.errors import FactoryError
from skerry_factory.filesystems import copy_sparse_range, make_sparse
from skerry_factory.gpt import Partition

BLOCK_BYTES = 4096
_NO_CHECKSUM = "0" * 64
_EXT4_MAGIC_AT, _EXT4_MAGIC = 1024 + 56, b"\x53\xef"
_BOOT_SECTOR = struct.Struct("<11xHBHBHHxH8xII")
_BOOT_SECTOR_BYTES = 512
_FAT_SIGNATURE = b"\x55\xaa"


def write_bmap(disk: Path, partitions: Sequence[Partition], target: Path) -> None:
    """Write the map of a raw disk; its partitions hold ext4 or FAT."""
    mapped = needed_blocks(disk, partitions)
    ranges = list(_ranges(mapped))
    with disk.open("rb", buffering=0) as stream:
        digests = [_digest(stream.fileno(), first, last) for first, last in ranges]
    lines = [
        '<?xml version="1.0" ?>',
        '<bmap version="2.0">',
        f"    <ImageSize> {disk.stat().st_size} </ImageSize>",
        f"    <BlockSize> {BLOCK_BYTES} </BlockSize>",
        f"    <BlocksCount> {len(mapped)} </BlocksCount>",
        f"    <MappedBlocksCount> {sum(mapped)} </MappedBlocksCount>",
        "    <ChecksumType> sha256 </ChecksumType>",
        f"    <BmapFileChecksum> {_NO_CHECKSUM} </BmapFileChecksum>",
        "    <BlockMap>",
    ]
    for (first, last), digest in zip(ranges, digests, strict=True):
        lines.append(f'        <Range chksum="{digest}"> {first}-{last} </Range>')
    text = "\n".join([*lines, "    </BlockMap>", "</bmap>", ""])
    own = hashlib.sha256(text.encode()).hexdigest()
    target.write_text(text.replace(_NO_CHECKSUM, own, 1), "ascii")


def needed_blocks(disk: Path, partitions: Sequence[Partition]) -> bytearray:
    """Return a byte for each block of 4096 bytes: 1 for what must be written."""
    mapped = bytearray(b"\1") * -(-disk.stat().st_size // BLOCK_BYTES)
    with disk.open("rb", buffering=0) as stream:
        for part in partitions:
            for start, end in _free(disk, stream.fileno(), part):
                first = -(-(part.offset_bytes + start) // BLOCK_BYTES)
                last = (part.offset_bytes + end) // BLOCK_BYTES
                if last > first:
                    mapped[first:last] = bytes(last - first)
        _keep_content(stream.fileno(), mapped)
    return mapped


def _free(disk: Path, descriptor: int, part: Partition) -> Iterator[tuple[int, int]]:
    """Yield what a file system calls free, as `(start, end)` in bytes of the partition."""
    if os.pread(descriptor, 2, part.offset_bytes + _EXT4_MAGIC_AT) == _EXT4_MAGIC:
        yield from _free_of_ext4(disk, part)
        return
    boot = os.pread(descriptor, _BOOT_SECTOR_BYTES, part.offset_bytes)
    if boot[-2:] != _FAT_SIGNATURE:
        raise FactoryError(f"partition {part.name!r} of {disk} holds neither ext4 nor FAT")
    yield from _free_of_fat(descriptor, boot, part)


def _free_of_ext4(disk: Path, part: Partition) -> Iterator[tuple[int, int]]:
    # dumpe2fs of e2fsprogs 1.47.2 knows no offsets
    with tempfile.TemporaryDirectory(dir=disk.parent) as folder:
        alone = Path(folder) / "partition"
        make_sparse(alone, part.size_bytes)
        copy_sparse_range(disk, alone, part.offset_bytes, part.size_bytes)
        listing = run_command(["dumpe2fs", str(alone)])
    size = re.search(r"^Block size:\s+(\d+)$", listing, re.MULTILINE)
    if size is None:
        raise FactoryError(f"dumpe2fs shows no block size of partition {part.name!r}: {listing}")
    block = int(size[1])
    for line in re.findall(r"^  Free blocks: (.+)$", listing, re.MULTILINE):
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", line):
            yield int(first) * block, (int(last or first) + 1) * block


def _free_of_fat(descriptor: int, boot: bytes, part: Partition) -> Iterator[tuple[int, int]]:
    fields = _BOOT_SECTOR.unpack_from(boot)
    sector, per_cluster, reserved, copies, roots, few, fat16, many, fat32 = fields
    width = "H" if fat16 else "I"
    table_at, table_bytes = reserved * sector, (fat16 or fat32) * sector
    data_at = table_at + copies * table_bytes + roots * 32
    cluster = per_cluster * sector
    clusters = ((few or many) * sector - data_at) // cluster
    wanted = (clusters + 2) * struct.calcsize(width)
    table = os.pread(descriptor, wanted, part.offset_bytes + table_at)
    entries = struct.unpack(f"<{clusters + 2}{width}", table)[2:]
    for first, last in _ranges(bytearray(entry == 0 for entry in entries)):
        yield data_at + first * cluster, data_at + (last + 1) * cluster


def _keep_content(descriptor: int, mapped: bytearray) -> None:
    """Mark what is free but not zero: nothing that the disk holds is left out."""
    for first, last in list(_ranges(bytearray(1 - one for one in mapped))):
        for block in _data_blocks(descriptor, first, last + 1):
            mapped[block] = 1


def _data_blocks(descriptor: int, first: int, end: int) -> Iterator[int]:
    at = first * BLOCK_BYTES
    while at < end * BLOCK_BYTES:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole up to the end
            return
        block = at // BLOCK_BYTES
        if block >= end:
            return
        if os.pread(descriptor, BLOCK_BYTES, block * BLOCK_BYTES).strip(b"\0"):
            yield block
        at = (block + 1) * BLOCK_BYTES


def _ranges(mapped: bytearray) -> Iterator[tuple[int, int]]:
    """Yield `(first, last)` of each run of ones."""
    end = 0
    while (first := mapped.find(1, end)) >= 0:
        end = mapped.find(0, first)
        end = len(mapped) if end < 0 else end
        yield first, end - 1


def _digest(descriptor: int, first: int, last: int) -> str:
    digest = hashlib.sha256()
    at, end = first * BLOCK_BYTES, (last + 1) * BLOCK_BYTES
    while at < end:
        piece = os.pread(descriptor, min(1 << 20, end - at), at)
        if not piece:
            break
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()
