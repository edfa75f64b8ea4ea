"""Copies of an image, each with a seed of its own in place.

    <folder>/<name>.qcow2              an overlay, as large as asked for
    <folder>/.base-<digest>.qcow2      what overlays refer to: a hard link of the image (a copy, on
                                       another file system), so that a later build does not
                                       change devices that exist
    <folder>/<name>.raw                a disk to be flashed; shares extents with the image if it can
    <folder>/<name>.seed.img           the seed alone, for a USB stick

QEMU makes one overlay per size of seed, with room for it; a copy of that gets its seed by plain
writes, since where the room lies in the file is known. A copy is written under the name the caller
gives, who makes it last (fsync) and renames it.
"""

import errno
import fcntl
import json
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skerry_factory.command import run_command
from skerry_factory.epoch import volume_id
from skerry_factory.errors import FactoryError
from skerry_factory.fat import EmptyVolume, filled
from skerry_factory.filesystems import copy_sparse, make_fat, make_sparse
from skerry_factory.output import read_manifest

SUFFIXES = {"qcow2": ".qcow2", "raw": ".raw", "seed": ".seed.img"}
LEAST_ROOM_BYTES = 256 << 10
BLOCK_BYTES = 4096
MODE = 0o600
"""A seed holds a device's secrets."""

FICLONE = 0x40049409
"""linux/fs.h: let a file share all extents of another one."""

_NOT_SHARED = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV}

Piece = tuple[int, bytes]
"""An offset and what stands there."""


class Copies:
    """Writes copies of the image in a folder; the folder of the copies is there."""

    def __init__(self, image: Path, folder: Path, disk_format: str, size_bytes: int) -> None:
        """Raises: FactoryError when there is no image."""
        manifest = read_manifest(image / "manifest.json")
        if manifest is None:
            raise FactoryError(
                f"there is no image in {image}; run: skerry-factory build {image.name}"
            )
        self._image = image
        self._folder = folder
        self._manifest = manifest
        self._format = disk_format
        self._size_bytes = size_bytes
        self._partition: dict[str, Any] = next(
            part for part in manifest["partitions"] if part["name"] == "seed"
        )
        self._empty: EmptyVolume | None = None
        self._overlays: dict[int, _Overlay] = {}

    @property
    def image_digest(self) -> str:
        """The sha256 of the image file that copies are made of; of a seed alone, empty."""
        return "" if self._format == "seed" else str(self._output["sha256"])

    def file_name(self, device: str) -> str:
        """Return the name of a device's copy."""
        return f"{device}{SUFFIXES[self._format]}"

    def volume(self, files: Mapping[str, bytes]) -> bytes:
        """Return the file system of a seed with these files, without the zeros at its end."""
        if self._empty is None:
            self._empty = self._make_empty()
        return filled(self._empty, files)

    def write(self, volume: bytes, target: Path) -> None:
        """Write a copy with a seed into a new file; the caller removes what a failure leaves."""
        if self._format == "qcow2":
            self._overlay(len(volume)).write(volume, target)
            return
        if self._format == "raw":
            _clone(self._source, target)
            offset = int(self._partition["offset_bytes"])
        else:
            make_sparse(target, self._partition["size_bytes"])
            offset = 0
        target.chmod(MODE)
        with target.open("r+b") as file:
            _write_pieces(file.fileno(), [(offset + at, data) for at, data in _pieces(volume)])

    def bytes_each(self, volume: bytes) -> int:
        """Return how much of the disk a copy takes at most, beyond extents that it shares."""
        if self._format == "raw" and not _shares_extents(self._source, self._folder):
            return self._source.stat().st_blocks * 512
        return len(volume) + LEAST_ROOM_BYTES

    @property
    def _output(self) -> Mapping[str, Any]:
        outputs = {output["format"]: output for output in self._manifest["outputs"]}
        found: Mapping[str, Any] = outputs.get(self._format) or outputs["raw"]
        return found

    @property
    def _source(self) -> Path:
        file = self._image / str(self._output["file"])
        if not file.is_file():
            name = self._image.name
            raise FactoryError(f"{file} is missing; build it again: skerry-factory build {name}")
        return file

    def _make_empty(self) -> EmptyVolume:
        with tempfile.TemporaryDirectory() as folder:
            tree, image = Path(folder, "tree"), Path(folder, "seed.img")
            tree.mkdir()
            own = volume_id(self._manifest["id"], "seed")
            size = self._partition["size_bytes"]
            make_fat(image, tree, size_bytes=size, bits=16, label="SKERRY-SEED", own=own)
            with image.open("rb") as file:
                return EmptyVolume.read(file.read(1 << 20))

    def _overlay(self, used_bytes: int) -> "_Overlay":
        room = LEAST_ROOM_BYTES
        while room < used_bytes:
            room *= 2
        room = min(room, int(self._partition["size_bytes"]))
        if room not in self._overlays:
            self._overlays[room] = self._make_overlay(room)
        return self._overlays[room]

    def _make_overlay(self, room: int) -> "_Overlay":
        source = self._source
        base = self._folder / f".base-{self.image_digest[:16]}.{self._output['format']}"
        if not base.exists():
            _link_or_copy(source, base)
        parts = self._manifest["partitions"]
        partitions_end = max(part["offset_bytes"] + part["size_bytes"] for part in parts)
        size = str(max(self._size_bytes, partitions_end + (1 << 20)))
        offset = int(self._partition["offset_bytes"])
        with tempfile.TemporaryDirectory(prefix="skerry-overlay-") as folder:
            disk = Path(folder, "disk.qcow2")
            # -u: the base is reached from the folder of the copies, not from this one
            backing = ["-u", "-b", base.name, "-F", str(self._output["format"])]
            run_command(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk), size])
            Path(folder, base.name).symlink_to(base.resolve())
            write = f"write -q -P 1 {offset} {room}"
            run_command(["qemu-io", "-f", "qcow2", "-c", write, str(disk)])
            told = json.loads(run_command(["qemu-img", "map", "--output=json", str(disk)]))
            return _Overlay.read(disk.read_bytes(), told, offset, room)


class _Overlay:
    """An overlay with room for a seed, and where that room lies in its file."""

    def __init__(self, size_bytes: int, head: list[Piece], room: list[tuple[int, int]]) -> None:
        self._size_bytes = size_bytes
        self._head = head
        self._room = room

    @classmethod
    def read(cls, data: bytes, extents: list[dict[str, Any]], offset: int, room: int) -> "_Overlay":
        """Take an overlay apart whose room was filled; `extents` as qemu-img map tells them."""
        content = bytearray(data)
        places = []
        for extent in extents:
            start = max(int(extent["start"]), offset)
            end = min(int(extent["start"]) + int(extent["length"]), offset + room)
            if start < end:
                at = int(extent["offset"]) + start - int(extent["start"])
                content[at : at + end - start] = bytes(end - start)
                places.append((at, end - start))
        return cls(len(data), list(_pieces(bytes(content))), places)

    def write(self, volume: bytes, target: Path) -> None:
        pieces, at = list(self._head), 0
        for place, length in self._room:
            found = _pieces(volume[at : at + length])
            pieces += [(place + start, data) for start, data in found]
            at += length
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        try:
            os.ftruncate(descriptor, self._size_bytes)
            _write_pieces(descriptor, pieces)
        finally:
            os.close(descriptor)


def remove_unused_bases(folder: Path) -> None:
    """Remove what no overlay of a folder refers to any more."""
    bases = list(folder.glob(".base-*"))
    if not bases:
        return
    used = {_backing_file(disk) for disk in folder.glob("[!.]*.qcow2")}
    for base in bases:
        if base.name not in used:
            base.unlink()


def _backing_file(disk: Path) -> str:
    """Return the name of the file that a qcow2 overlay refers to (qcow2 header, bytes 8 to 19)."""
    with disk.open("rb") as file:
        offset, length = struct.unpack(">QI", file.read(20)[8:])
        file.seek(offset)
        return file.read(length).decode()


def _pieces(data: bytes) -> Iterator[Piece]:
    """Yield the runs of blocks that are not all zeros."""
    zeros, start = bytes(BLOCK_BYTES), None
    for at in range(0, len(data), BLOCK_BYTES):
        block = data[at : at + BLOCK_BYTES]
        if block == zeros[: len(block)]:
            if start is not None:
                yield start, data[start:at]
            start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, data[start:]


def _write_pieces(descriptor: int, pieces: list[Piece]) -> None:
    for at, data in pieces:
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, at)
            view, at = view[written:], at + written


def _clone(source: Path, target: Path) -> None:
    """Copy a file to a new one, by sharing its extents where the file system can."""
    with source.open("rb") as reader, target.open("xb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
        except OSError as error:
            if error.errno not in _NOT_SHARED:
                raise
            writer.truncate(source.stat().st_size)
        else:
            return
    copy_sparse(source, target, 0)


def _link_or_copy(source: Path, base: Path) -> None:
    """Give the image another name, or copy it to another file system."""
    try:
        base.hardlink_to(source)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        partial = base.with_name(f".partial-{base.name}")
        partial.unlink(missing_ok=True)
        _clone(source, partial)
        partial.replace(base)


def _shares_extents(source: Path, folder: Path) -> bool:
    with source.open("rb") as reader, tempfile.TemporaryFile(dir=folder) as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
        except OSError:
            return False
        return True
