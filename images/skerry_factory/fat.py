"""Fills an empty FAT16 file system with files, in memory: a seed in well under a millisecond.

mkfs.vfat makes the empty file system once; what is added here is what mcopy would add, with one
fixed time stamp, so that the same files give the same bytes. Files lie in one piece, in the order
of their paths, so all that is used is at the start (Microsoft, "FAT: General Overview", 1.03).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError

ENTRY_BYTES = 32
FOLDER, ARCHIVE, LONG_NAME = 0x10, 0x20, 0x0F
END_OF_CHAIN = 0xFFFF
FIRST_CLUSTER = 2
CHARACTERS_PER_ENTRY = 13


@dataclass(frozen=True)
class EmptyVolume:
    """An empty file system: what mkfs.vfat wrote, up to the first cluster, and its geometry."""

    head: bytes
    fat_offset: int
    fat_bytes: int
    fats: int
    root_offset: int
    root_bytes: int
    cluster_bytes: int
    clusters: int

    @classmethod
    def read(cls, data: bytes) -> "EmptyVolume":
        """Read the geometry from the start of a file system, up to its first cluster or more."""
        geometry = struct.unpack_from("<HBHBHH", data, 11)
        sector, per_cluster, reserved, fats, roots, total_16 = geometry
        (fat_sectors,) = struct.unpack_from("<H", data, 22)
        total = total_16 or struct.unpack_from("<I", data, 32)[0]
        root_offset = (reserved + fats * fat_sectors) * sector
        first = root_offset + roots * ENTRY_BYTES
        return cls(
            head=data[:first],
            fat_offset=reserved * sector,
            fat_bytes=fat_sectors * sector,
            fats=fats,
            root_offset=root_offset,
            root_bytes=roots * ENTRY_BYTES,
            cluster_bytes=sector * per_cluster,
            clusters=(total * sector - first) // (sector * per_cluster),
        )


def filled(volume: EmptyVolume, files: Mapping[str, bytes]) -> bytes:
    """Return the file system with these files, up to its last used cluster; the rest is zeros.

    Names are paths with '/', of characters that FAT allows. Raises: FactoryError when full.
    """
    root = _Folder()
    for name, data in files.items():
        *folders, last = name.split("/")
        folder = root
        for part in folders:
            folder = folder.folders.setdefault(part, _Folder())
        folder.files[last] = data
    return _Writer(volume).write(root)


@dataclass
class _Folder:
    folders: dict[str, "_Folder"] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class _Writer:
    """One file system in the making; clusters are given out from first to last."""

    def __init__(self, volume: EmptyVolume) -> None:
        self._volume = volume
        self._chains: list[int] = []
        self._data: list[bytes] = []

    def write(self, root: _Folder) -> bytes:
        volume = self._volume
        label = volume.head[volume.root_offset : volume.root_offset + ENTRY_BYTES]
        entries = (label if label[0] else b"") + self._entries(root, 0)
        if len(entries) > volume.root_bytes:
            raise FactoryError("a file system for a seed has no room for so many names")
        head = bytearray(volume.head)
        head[volume.root_offset : volume.root_offset + len(entries)] = entries
        chains = struct.pack(f"<{len(self._chains)}H", *self._chains)
        for copy in range(volume.fats):
            at = volume.fat_offset + copy * volume.fat_bytes + 2 * FIRST_CLUSTER
            head[at : at + len(chains)] = chains
        return bytes(head) + b"".join(self._data)

    def _entries(self, folder: _Folder, own: int) -> bytes:
        """Store what is in a folder and return its directory entries; `own` is its cluster."""
        found = b""
        names = sorted([*folder.folders, *folder.files])
        for number, name in enumerate(names, 1):
            if name in folder.files:
                data = folder.files[name]
                first = self._store(data)
                found += _entry(name, number, ARCHIVE, first, len(data))
            else:
                first = self._store_folder(folder.folders[name], own)
                found += _entry(name, number, FOLDER, first, 0)
        return found

    def _store_folder(self, folder: _Folder, parent: int) -> int:
        names = [*folder.folders, *folder.files]
        first = self._store(bytes(ENTRY_BYTES * (2 + sum(map(_entries_of, names)))))
        place = len(self._data) - 1
        dots = _short_entry(b".".ljust(11), FOLDER, first, 0)
        dots += _short_entry(b"..".ljust(11), FOLDER, parent, 0)
        content = dots + self._entries(folder, first)
        self._data[place] = content.ljust(len(self._data[place]), b"\0")
        return first

    def _store(self, data: bytes) -> int:
        """Give data its clusters; returns the first one, 0 for none."""
        count = -(-len(data) // self._volume.cluster_bytes)
        if not count:
            return 0
        first = FIRST_CLUSTER + len(self._chains)
        if len(self._chains) + count > self._volume.clusters:
            room = self._volume.clusters * self._volume.cluster_bytes
            raise FactoryError(f"the files do not fit on a seed; expected at most {room} bytes")
        self._chains += [*range(first + 1, first + count), END_OF_CHAIN]
        self._data.append(data.ljust(count * self._volume.cluster_bytes, b"\0"))
        return first


def _entries_of(name: str) -> int:
    return 1 + -(-len(name) // CHARACTERS_PER_ENTRY)


def _entry(name: str, number: int, attribute: int, first: int, size: int) -> bytes:
    """Return the entries of a file: its long name in pieces, last one first, and the short one."""
    short = _short_name(name, number)
    checksum = 0
    for byte in short:
        checksum = ((checksum >> 1) + ((checksum & 1) << 7) + byte) & 0xFF
    pieces = _entries_of(name) - 1
    padded = name + ("\0" if len(name) % CHARACTERS_PER_ENTRY else "")
    text = padded.encode("utf-16-le").ljust(pieces * CHARACTERS_PER_ENTRY * 2, b"\xff")
    found = b""
    for index in range(pieces, 0, -1):
        part = text[(index - 1) * 26 : index * 26]
        order = index | (0x40 if index == pieces else 0)
        found += struct.pack(
            "<B10sBBB12sH4s", order, part[:10], LONG_NAME, 0, checksum, part[10:22], 0, part[22:]
        )
    return found + _short_entry(short, attribute, first, size)


def _short_name(name: str, number: int) -> bytes:
    """Return an 8.3 name that is unique by the number of the entry in its folder."""
    stem, _, extension = name.rpartition(".") if "." in name[1:] else (name, "", "")
    tail = f"~{number}"
    kept = "".join(c for c in stem.upper() if c.isascii() and c.isalnum())[: 8 - len(tail)]
    kept_extension = "".join(c for c in extension.upper() if c.isascii() and c.isalnum())[:3]
    return f"{kept + tail:<8}{kept_extension:<3}".encode("ascii")


def _short_entry(short: bytes, attribute: int, first: int, size: int) -> bytes:
    moment = datetime.fromtimestamp(SOURCE_DATE_EPOCH, UTC)
    date = (moment.year - 1980) << 9 | moment.month << 5 | moment.day
    time = moment.hour << 11 | moment.minute << 5 | moment.second // 2
    return struct.pack(
        "<11sBBBHHHHHHHI", short, attribute, 0, 0, time, date, date, 0, time, date, first, size
    )
