"""Opens whatever an image is given as: a build's folder, a disk of any format, an archive, a tree.

    opened("out/debian-13-amd64")   the folder of a build: its raw disk
    opened("x.qcow2")               raw, qcow2, vhdx, vmdk, raw.zst; all but raw are unpacked
    opened("x.tar"), opened("/srv/tree")

Everything unpacked lies in a folder that is removed at the end; entries are read while it is open.
"""

import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from skerry_factory.command import run_command
from skerry_factory.contents.ext4 import Ext4
from skerry_factory.contents.model import Contents, Entry, Kind
from skerry_factory.errors import FactoryError
from skerry_factory.gpt import TYPE_ESP, Partition, read_table
from skerry_factory.output import read_manifest

CONVERTED = (".qcow2", ".vhdx", ".vmdk")
DATA = "data"
XATTR_OF_TAR = "SCHILY.xattr."


@contextmanager
def opened(image: Path) -> Iterator[Contents]:
    """Yield what is in an image. Raises: FactoryError when it is of no kind that is known."""
    with ExitStack() as stack:
        if image.is_dir():
            disk = disk_of_folder(image)
            yield _of_disk(disk, stack) if disk else Contents(_tree(image))
        elif not image.is_file():
            raise FactoryError(f"{image} does not exist; expected a disk, an archive or a folder")
        elif image.suffix == ".tar":
            try:
                reader = stack.enter_context(tarfile.open(image, "r:"))
            except tarfile.TarError as error:
                raise FactoryError(f"{image} is no tar archive: {error}") from error
            yield _archive(reader)
        else:
            yield _of_disk(image, stack)


def disk_of_folder(folder: Path) -> Path | None:
    """Return the raw disk of a build's folder; None when the folder is no build's."""
    manifest = read_manifest(folder / "manifest.json")
    if manifest is None:
        return None
    outputs = manifest["outputs"]
    return folder / str(next(one["file"] for one in outputs if one["format"] == "raw"))


def _of_disk(disk: Path, stack: ExitStack) -> Contents:
    raw = _as_raw(disk, stack)
    _, partitions = read_table(raw)
    entries: dict[str, Entry] = {}
    boot: dict[str, bytes] = {}
    for part in partitions:
        if part.type == TYPE_ESP:
            boot = _boot_files(raw, part)
        elif part.name.startswith("root"):
            entries |= Ext4(raw, part.offset_bytes).entries()
        elif part.name == DATA:
            found = Ext4(raw, part.offset_bytes).entries()
            entries |= {f"{DATA}/{path}": entry for path, entry in found.items()}
    return Contents(entries, tuple(partitions), boot)


def _as_raw(disk: Path, stack: ExitStack) -> Path:
    packed = disk.name.endswith(".zst")
    if not packed and disk.suffix not in CONVERTED:
        return disk
    raw = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skerry-"))) / "disk.raw"
    if packed:
        run_command(["zstd", "-q", "-d", "--long=27", "--sparse", "-o", str(raw), str(disk)])
    else:
        run_command(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)])
    return raw


def _boot_files(disk: Path, part: Partition) -> dict[str, bytes]:
    """Return the files of the system partition; mtools reads them where they are."""
    with tempfile.TemporaryDirectory(prefix="skerry-") as folder:
        source = ["-i", f"{disk}@@{part.offset_bytes}", "::/"]
        run_command(["mcopy", "-s", "-n", "-Q", *source, folder])
        root = Path(folder)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def _archive(reader: tarfile.TarFile) -> Contents:
    members = {m.name.removeprefix("./").strip("/"): m for m in reader.getmembers()}
    found = {path: _of_member(reader, member) for path, member in members.items()}
    return Contents({path: entry for path, entry in found.items() if path not in ("", ".")})


def _of_member(reader: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    if member.islnk():
        member = reader.getmember(member.linkname)
    kind = Kind.FILE if member.isfile() else Kind.FOLDER if member.isdir() else Kind.LINK
    if not (member.isfile() or member.isdir() or member.issym()):
        kind = Kind.PIPE if member.isfifo() else Kind.DEVICE
    return Entry(
        kind=kind,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        size_bytes=member.size if kind is Kind.FILE else 0,
        target=member.linkname if kind is Kind.LINK else "",
        xattrs={
            name.removeprefix(XATTR_OF_TAR): value.encode("utf-8", "surrogateescape")
            for name, value in member.pax_headers.items()
            if name.startswith(XATTR_OF_TAR)
        },
        read=partial(_member_bytes, reader, member),
    )


def _member_bytes(reader: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = reader.extractfile(member)
    return stream.read() if stream else b""


def _tree(root: Path) -> dict[str, Entry]:
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            status = path.lstat()
            kind = Kind.of_mode(status.st_mode)
            if kind is None:
                raise FactoryError(f"{path} is of an unknown kind")
            found[path.relative_to(root).as_posix()] = Entry(
                kind=kind,
                mode=status.st_mode & 0o7777,
                uid=status.st_uid,
                gid=status.st_gid,
                size_bytes=status.st_size if kind is Kind.FILE else 0,
                target=str(path.readlink()) if kind is Kind.LINK else "",
                xattrs=_xattrs(path),
                read=path.read_bytes,
            )
    return found


def _xattrs(path: Path) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
