"""GUID partition tables: made and read in pure Python, with no device and no mount.

Layout (UEFI specification 2.10, chapter 5): protective MBR in block 0, header in block 1, 128
entries of 128 bytes in blocks 2 to 33; a copy of entries and header in the last 33 blocks.
"""

import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skerry_factory.errors import FactoryError

BLOCK_BYTES = 512
ALIGNMENT_BYTES = 1 << 20
ENTRIES = 128
ENTRY_BYTES = 128
ENTRY_BLOCKS = ENTRIES * ENTRY_BYTES // BLOCK_BYTES

TYPE_ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
TYPE_LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


@dataclass(frozen=True)
class Partition:
    """One partition; offset and size are multiples of the block size."""

    name: str
    label: str
    type: uuid.UUID
    uuid: uuid.UUID
    offset_bytes: int
    size_bytes: int


def write_table(disk: Path, disk_id: uuid.UUID, partitions: Sequence[Partition]) -> None:
    """Write the table of a disk into its file, whose size must be final."""
    blocks = disk.stat().st_size // BLOCK_BYTES
    entries = b"".join(_entry(partition) for partition in partitions)
    entries += bytes(ENTRIES * ENTRY_BYTES - len(entries))
    last = blocks - 1
    primary = _header(disk_id, entries, own=1, other=last, entries_at=2, blocks=blocks)
    backup_entries = last - ENTRY_BLOCKS
    backup = _header(disk_id, entries, own=last, other=1, entries_at=backup_entries, blocks=blocks)
    with disk.open("r+b") as file:
        file.write(_protective_mbr(blocks) + primary + entries)
        file.seek(backup_entries * BLOCK_BYTES)
        file.write(entries + backup)


def read_table(disk: Path) -> tuple[uuid.UUID, list[Partition]]:
    """Read a table back; the labels are not part of it and come out empty."""
    with disk.open("rb") as file:
        file.seek(BLOCK_BYTES)
        header = file.read(BLOCK_BYTES)
        if header[:8] != b"EFI PART":
            raise FactoryError(f"{disk} has no GUID partition table; expected a raw disk image")
        stored = struct.unpack_from("<I", header, 16)[0]
        if zlib.crc32(header[:16] + bytes(4) + header[20:92]) != stored:
            raise FactoryError(f"{disk} has a damaged partition table; build or stamp it again")
        file.seek(2 * BLOCK_BYTES)
        entries = file.read(ENTRIES * ENTRY_BYTES)
    disk_id = uuid.UUID(bytes_le=header[56:72])
    found = []
    for at in range(0, len(entries), ENTRY_BYTES):
        kind, own, first, last, _, name = struct.unpack_from("<16s16sQQQ72s", entries, at)
        if any(kind):
            found.append(
                Partition(
                    name=name.decode("utf-16-le").rstrip("\0"),
                    label="",
                    type=uuid.UUID(bytes_le=kind),
                    uuid=uuid.UUID(bytes_le=own),
                    offset_bytes=first * BLOCK_BYTES,
                    size_bytes=(last - first + 1) * BLOCK_BYTES,
                )
            )
    return disk_id, found


def _entry(partition: Partition) -> bytes:
    if partition.offset_bytes % BLOCK_BYTES or partition.size_bytes % BLOCK_BYTES:
        raise FactoryError(f"partition {partition.name!r} is not aligned to {BLOCK_BYTES} bytes")
    first = partition.offset_bytes // BLOCK_BYTES
    last = first + partition.size_bytes // BLOCK_BYTES - 1
    name = partition.name.encode("utf-16-le").ljust(72, b"\0")
    return struct.pack(
        "<16s16sQQQ72s", partition.type.bytes_le, partition.uuid.bytes_le, first, last, 0, name
    )


def _header(
    disk_id: uuid.UUID, entries: bytes, *, own: int, other: int, entries_at: int, blocks: int
) -> bytes:
    usable = (2 + ENTRY_BLOCKS, blocks - 2 - ENTRY_BLOCKS)
    tail = struct.pack("<QIII", entries_at, ENTRIES, ENTRY_BYTES, zlib.crc32(entries))
    body = struct.pack("<QQQQ", own, other, *usable) + disk_id.bytes_le + tail
    head = struct.pack("<8sII", b"EFI PART", 0x00010000, 92)
    checksum = zlib.crc32(head + bytes(8) + body)
    return (head + struct.pack("<II", checksum, 0) + body).ljust(BLOCK_BYTES, b"\0")


def _protective_mbr(blocks: int) -> bytes:
    size = min(blocks - 1, 0xFFFFFFFF)
    record = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", 0xEE, b"\xff\xff\xff", 1, size)
    return bytes(446) + record + bytes(48) + b"\x55\xaa"
