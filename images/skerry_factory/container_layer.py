"""Layers of container images: a tree as a tar archive whose bytes depend on the tree alone.

Members are sorted by path, all times are the epoch, owners are numbers. A layer of the base comes
from mmdebstrap's archive; a layer of an image from plain files of the checkout, owned by root.
"""

import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from skerry_factory.cache import IGNORED_NAMES
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError

GZIP_LEVEL = 6
PIECE_BYTES = 1 << 20
_GZIP_FORMAT = 31


@dataclass(frozen=True)
class File:
    """A file with its content."""

    data: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Folder:
    """A folder."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


Entry = File | Folder | Link


@dataclass(frozen=True)
class Layer:
    """A layer as it is stored (gzip); `diff_id` is the sha256 of the archive before compression."""

    diff_id: str
    digest: str
    data: bytes
    tree_bytes: int

    @property
    def size_bytes(self) -> int:
        """Size as it is stored."""
        return len(self.data)


@dataclass(frozen=True)
class StoredLayer:
    """A layer too large for the memory: like Layer, with its data in a file."""

    diff_id: str
    digest: str
    data: Path
    size_bytes: int


def store_layer(archive: BinaryIO, target: Path) -> StoredLayer:
    """Compress a tar archive that is being written, piece by piece, into a new file."""
    plain, packed = hashlib.sha256(), hashlib.sha256()
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    with target.open("xb") as stream:

        def keep(data: bytes) -> None:
            packed.update(data)
            stream.write(data)

        while piece := archive.read(PIECE_BYTES):
            plain.update(piece)
            keep(packer.compress(piece))
        keep(packer.flush())
        return StoredLayer(plain.hexdigest(), packed.hexdigest(), target, stream.tell())


def make_layer(entries: Mapping[str, Entry]) -> Layer:
    """Return the layer of a tree; folders on the way to an entry are added, owned by root."""
    archive = _archive({**_parents(entries), **entries})
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    data = packer.compress(archive) + packer.flush()
    return Layer(
        diff_id=_sha256(archive),
        digest=_sha256(data),
        data=data,
        tree_bytes=sum(len(entry.data) for entry in entries.values() if isinstance(entry, File)),
    )


def plain_entries(source: Path, target: str) -> dict[str, Entry]:
    """Return a file or folder of the checkout as entries: mode by the executable bit, owner root.

    Links are followed by nobody: the checkout has none here, and one is refused.
    """
    if source.is_symlink() or not (source.is_dir() or source.is_file()):
        raise FactoryError(f"{source} is neither a file nor a folder; images are made of those")
    if source.is_file():
        return {target: File(source.read_bytes(), 0o755 if _executable(source) else 0o644)}
    entries: dict[str, Entry] = {target: Folder()}
    for child in sorted(source.iterdir()):
        if child.name not in IGNORED_NAMES and child.suffix != ".pyc":
            entries |= plain_entries(child, f"{target}/{child.name}")
    return entries


def entries_of_archive(archive: Path, wanted: Callable[[str], bool]) -> dict[str, Entry]:
    """Return the members of a tar archive that are wanted, and the folders that lead to them."""
    entries: dict[str, Entry] = {}
    folders: dict[str, Entry] = {}
    with tarfile.open(archive, "r:") as source:
        for member in source:
            path = str(PurePosixPath(member.name)).removeprefix("/")
            if path == ".":
                continue
            if member.isdir():
                folders[path] = Folder(member.mode, member.uid, member.gid)
            if wanted(path):
                entries[path] = folders.get(path) or _read_member(source, member)
    needed = {str(parent) for path in entries for parent in PurePosixPath(path).parents}
    return {path: folder for path, folder in folders.items() if path in needed} | entries


def _read_member(source: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    if member.issym():
        return Link(member.linkname)
    # a hard link is read as what it leads to: the copy is smaller than the trouble of ordering
    stream = source.extractfile(member) if member.isfile() or member.islnk() else None
    if stream is None:
        kind = member.type.decode("ascii", "replace")
        raise FactoryError(f"{member.name} has type {kind!r}; expected a file, folder or link")
    return File(stream.read(), member.mode, member.uid, member.gid)


def _archive(entries: Mapping[str, Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(entries):
            entry = entries[path]
            info = tarfile.TarInfo(path)
            info.mtime = SOURCE_DATE_EPOCH
            if isinstance(entry, Link):
                info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, entry.target
                archive.addfile(info)
                continue
            info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
            if isinstance(entry, Folder):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(entry.data)
                archive.addfile(info, io.BytesIO(entry.data))
    return buffer.getvalue()


def _parents(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    parents = {str(parent) for path in entries for parent in PurePosixPath(path).parents}
    return {parent: Folder() for parent in parents if parent != "."}


def _executable(file: Path) -> bool:
    return bool(file.stat().st_mode & 0o100)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
