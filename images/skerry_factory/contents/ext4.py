"""Reads an ext4 file system out of a disk image, in pure Python: fast, without root, no mount.

Source: the kernel's Documentation/filesystems/ext4. Only what mke2fs makes by default is read;
other features that change the layout are refused by number. Times are not read.
"""

import mmap
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from skerry_factory.contents.model import Entry, Kind
from skerry_factory.errors import FactoryError

MAGIC, EXTENT_MAGIC, XATTR_MAGIC = 0xEF53, 0xF30A, 0xEA020000
SUPERBLOCK_AT = 1024
ROOT_INODE = 2
UNDERSTOOD = 0x2 | 0x4 | 0x40 | 0x80 | 0x200 | 0x2000
"""filetype, recover, extents, 64bit, flex_bg, csum_seed of s_feature_incompat."""
EXTENTS_FLAG = 0x80000
UNWRITTEN = 0x8000
MAX_DEPTH = 6
MAX_LOG_SIZE = 6
SHORT_LINK_BYTES = 60
PREFIXES = {
    1: "user.",
    2: "system.posix_acl_access",
    3: "system.posix_acl_default",
    4: "trusted.",
    6: "security.",
    7: "system.",
}


class Ext4:
    """One file system at an offset of a file, which stays open as long as entries are read."""

    def __init__(self, disk: Path, offset_bytes: int) -> None:
        """Raises: FactoryError when there is none, or one of another layout."""
        self._where = f"{disk} at byte {offset_bytes}"
        with disk.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._offset = offset_bytes
        at = offset_bytes + SUPERBLOCK_AT
        block = self._data[at : at + 1024]
        if len(block) < 1024 or struct.unpack_from("<H", block, 0x38)[0] != MAGIC:
            raise FactoryError(f"{self._where}: no ext4 file system; expected one made by a build")
        (features,) = struct.unpack_from("<I", block, 0x60)
        if features & ~UNDERSTOOD:
            raise FactoryError(
                f"{self._where}: ext4 features {features & ~UNDERSTOOD:#x} cannot be read; "
                "expected what mke2fs makes by default"
            )
        first, log_size = struct.unpack_from("<II", block, 0x14)
        if log_size > MAX_LOG_SIZE:
            raise FactoryError(f"{self._where}: the ext4 file system is damaged: size of blocks")
        self._block_bytes = 1024 << log_size
        (self._inodes_per_group,) = struct.unpack_from("<I", block, 0x28)
        (self._inode_bytes,) = struct.unpack_from("<H", block, 0x58)
        (stated,) = struct.unpack_from("<H", block, 0xFE)
        self._descriptor_bytes = stated if features & 0x80 else 32
        self._descriptors_at = (first + 1) * self._block_bytes

    def entries(self) -> dict[str, Entry]:
        """Return every path. Raises: FactoryError when the file system is damaged."""
        try:
            return dict(self._walk())
        except (struct.error, IndexError, ZeroDivisionError, RecursionError) as error:
            raise FactoryError(
                f"{self._where}: the ext4 file system is damaged: {error}"
            ) from error

    def _walk(self) -> Iterator[tuple[str, Entry]]:
        known: dict[int, Entry] = {}
        waiting, visited = [("", ROOT_INODE)], {ROOT_INODE}
        while waiting:
            folder, number = waiting.pop()
            for name, child in self._names(self._content(self._inode(number))):
                path = f"{folder}{name}"
                entry = known.get(child)
                if entry is None:
                    entry = known[child] = self._entry(path, self._inode(child))
                yield path, entry
                if entry.kind is Kind.FOLDER:
                    if child in visited:
                        raise FactoryError(f"{self._where}: folder {path!r} is there twice")
                    visited.add(child)
                    waiting.append((f"{path}/", child))

    def _entry(self, path: str, inode: bytes) -> Entry:
        mode, uid, size = struct.unpack_from("<HHI", inode, 0)
        (gid,) = struct.unpack_from("<H", inode, 0x18)
        uid_high, gid_high = struct.unpack_from("<HH", inode, 0x78)
        kind = Kind.of_mode(mode)
        if kind is None:
            raise FactoryError(f"{self._where}: {path!r} has the unknown mode {mode:#o}")
        target = ""
        if kind is Kind.LINK:
            data = inode[0x28 : 0x28 + size] if size < SHORT_LINK_BYTES else self._content(inode)
            target = data.decode("utf-8", "backslashreplace")
        return Entry(
            kind=kind,
            mode=mode & 0o7777,
            uid=uid | uid_high << 16,
            gid=gid | gid_high << 16,
            size_bytes=_size(inode) if kind is Kind.FILE else 0,
            target=target,
            xattrs=self._xattrs(inode),
            read=partial(self._content, inode),
        )

    def _inode(self, number: int) -> bytes:
        group, index = divmod(number - 1, self._inodes_per_group)
        at = self._descriptors_at + group * self._descriptor_bytes
        descriptor = self._bytes(at, self._descriptor_bytes)
        (table,) = struct.unpack_from("<I", descriptor, 8)
        if self._descriptor_bytes >= 64:
            table |= struct.unpack_from("<I", descriptor, 0x28)[0] << 32
        return self._bytes(table * self._block_bytes + index * self._inode_bytes, self._inode_bytes)

    def _content(self, inode: bytes) -> bytes:
        """Return what an inode holds; what was never written reads as zeros."""
        if not struct.unpack_from("<I", inode, 0x20)[0] & EXTENTS_FLAG:
            raise FactoryError(f"{self._where}: a file without extents; expected those of mke2fs")
        size, pieces, position = _size(inode), [], 0
        if size > len(self._data):
            raise FactoryError(f"{self._where}: a file is larger than the disk that holds it")
        for first, start, length in self._extents(inode[0x28:0x64], MAX_DEPTH):
            at, held = first * self._block_bytes, length * self._block_bytes
            if at >= size:
                break
            if at < position:
                raise FactoryError(f"{self._where}: a damaged file; build or stamp it again")
            pieces.append(bytes(at - position))
            pieces.append(self._bytes(start * self._block_bytes, min(held, size - at)))
            position = at + len(pieces[-1])
        pieces.append(bytes(size - position))
        return b"".join(pieces)

    def _extents(self, node: bytes, depth_left: int) -> Iterator[tuple[int, int, int]]:
        """Yield `(first block of the file, first block of the disk, blocks)` of what is written."""
        magic, count, _, depth = struct.unpack_from("<HHHH", node, 0)
        if magic != EXTENT_MAGIC or depth >= depth_left:
            raise FactoryError(f"{self._where}: a damaged extent tree; build or stamp it again")
        for index in range(count):
            at = 12 + 12 * index
            if depth:
                _, low, high = struct.unpack_from("<IIH", node, at)
                below = self._bytes((low | high << 32) * self._block_bytes, self._block_bytes)
                yield from self._extents(below, depth)
            else:
                first, length, high, low = struct.unpack_from("<IHHI", node, at)
                if 0 < length <= UNWRITTEN:
                    yield first, low | high << 32, length

    def _names(self, data: bytes) -> Iterator[tuple[str, int]]:
        at = 0
        while at + 8 <= len(data):
            number, length, name_length = struct.unpack_from("<IHB", data, at)
            if length < 8:
                raise FactoryError(f"{self._where}: a damaged folder; build or stamp it again")
            name = data[at + 8 : at + 8 + name_length]
            if number and name not in (b".", b".."):
                yield name.decode("utf-8", "backslashreplace"), number
            at += length

    def _xattrs(self, inode: bytes) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        if len(inode) > 128:
            start = 128 + struct.unpack_from("<H", inode, 128)[0]
            if start + 4 <= len(inode) and inode[start : start + 4] == _XATTR_START:
                found |= _attributes(inode[start + 4 :], inode[start + 4 :])
        (low,) = struct.unpack_from("<I", inode, 0x68)
        (high,) = struct.unpack_from("<H", inode, 0x76)
        if low | high:
            block = self._bytes((low | high << 32) * self._block_bytes, self._block_bytes)
            found |= _attributes(block[32:], block)
        return found

    def _bytes(self, at: int, length: int) -> bytes:
        start = self._offset + at
        piece = self._data[start : start + length]
        if len(piece) != length:
            raise FactoryError(f"{self._where}: the file system goes on after the end of the file")
        return piece


_XATTR_START = struct.pack("<I", XATTR_MAGIC)


def _size(inode: bytes) -> int:
    (low,), (high,) = struct.unpack_from("<I", inode, 4), struct.unpack_from("<I", inode, 0x6C)
    return int(low | high << 32)


def _attributes(table: bytes, values: bytes) -> dict[str, bytes]:
    found, at = {}, 0
    while at + 16 <= len(table) and table[at : at + 4] != bytes(4):
        length, prefix, offset, _, size = struct.unpack_from("<BBHII", table, at)
        name = table[at + 16 : at + 16 + length].decode("utf-8", "replace")
        found[PREFIXES.get(prefix, f"{prefix}.") + name] = values[offset : offset + size]
        at += (16 + length + 3) // 4 * 4
    return found
