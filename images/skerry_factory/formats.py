"""The formats of an image, each made from the raw disk; the same disk gives the same bytes.

    raw      the disk itself, sparse; always made
    raw.zst  compressed with zstd, and raw.bmap beside it: what a writer may leave out (bmap.py)
    qcow2    QEMU, libvirt
    vhdx     Hyper-V
    vmdk     VMware: stream-optimised, as its importers want it
    vagrant  a Vagrant box for libvirt (vagrant.py)
    iso, pxe installers from a medium and over the network (installer.py); raw.zst comes with them
    tar, oci the files without a disk (archive.py)

qemu-img puts random identifiers and its own version into vhdx and vmdk; they are replaced by such
as follow from the definition.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from skerry_factory.architecture import AMD64, Architecture
from skerry_factory.bmap import write_bmap
from skerry_factory.cache import digest_of_file
from skerry_factory.command import run_command
from skerry_factory.epoch import volume_id
from skerry_factory.errors import FactoryError
from skerry_factory.filesystems import digest_of_sparse
from skerry_factory.gpt import Partition
from skerry_factory.installer import ISO, PXE, image_conf, write_iso, write_pxe
from skerry_factory.output import Output
from skerry_factory.vagrant import write_box
from skerry_factory.vhdx import settle_identifiers

RAW, PACKED = "raw", "raw.zst"
_DESCRIPTOR_AT, _DESCRIPTOR_BYTES = 512, 20 * 512
_WINDOW_LOG = 27
"""128 MiB: what every zstd unpacks without being told, at most."""


@dataclass(frozen=True)
class Disk:
    """A raw disk, of which definition it is, where its file systems lie; its installer, if any."""

    path: Path
    image_id: str
    partitions: Sequence[Partition]
    architecture: Architecture = AMD64
    installer: Path | None = None


Writer = Callable[[Disk], list[Path]]


def write_formats(disk: Disk, formats: Sequence[str]) -> list[Output]:
    """Make what is asked for, side by side; the raw disk is the first of the result."""
    media = [name for name in (ISO, PXE) if name in formats]
    if media and disk.installer is None:
        raise FactoryError(f"{' and '.join(media)} need an installer, which was not built")
    needed = {*formats, *([PACKED] if media else [])}
    with ThreadPoolExecutor() as pool:
        raw = pool.submit(digest_of_sparse, disk.path)
        made = [pool.submit(_write, name, disk) for name in WRITERS if name in needed]
        outputs = [output for each in made for output in each.result()]
        installers = [_output(path) for path in _write_installers(disk, media)]
        return [Output(disk.path, RAW, raw.result()), *outputs, *installers]


def _write(name: str, disk: Disk) -> list[Output]:
    return [_output(path) for path in WRITERS[name](disk)]


def _output(path: Path) -> Output:
    return Output(path, path.suffix[1:], digest_of_file(path))


def _write_installers(disk: Disk, media: Sequence[str]) -> list[Path]:
    if not media or disk.installer is None:
        return []
    packed, block_map = _packed_names(disk)
    conf = disk.path.with_suffix(".conf")
    conf.write_bytes(image_conf(disk.path, packed, block_map))
    files = {"image.conf": conf, packed.name: packed, block_map.name: block_map}
    made = []
    if ISO in media:
        made.append(disk.path.with_suffix(".iso"))
        write_iso(disk.image_id, disk.architecture, disk.installer, files, made[-1])
    if PXE in media:
        made.append(disk.path.with_suffix(".pxe"))
        write_pxe(disk.architecture, disk.installer, files, made[-1])
    conf.unlink()
    return made


def _packed_names(disk: Disk) -> tuple[Path, Path]:
    return disk.path.with_name(f"{disk.path.name}.zst"), disk.path.with_suffix(".bmap")


def settle_content_id(file: Path, image_id: str) -> None:
    """Replace the random number of a VMDK file. Raises: FactoryError for one of another layout."""
    own = b"\nCID=" + volume_id(image_id, "vmdk").encode()
    with file.open("r+b") as stream:
        stream.seek(_DESCRIPTOR_AT)
        text = stream.read(_DESCRIPTOR_BYTES).rstrip(b"\0")
        # of no fixed length: qemu-img writes the number without leading zeros
        settled, found = re.subn(rb"\nCID=[0-9a-f]+", own, text, count=1)
        if not found:
            raise FactoryError(f"{file} has no content id; is this qemu-img newer than expected?")
        stream.seek(_DESCRIPTOR_AT)
        stream.write(settled.ljust(_DESCRIPTOR_BYTES, b"\0"))


def _qcow2(disk: Disk) -> list[Path]:
    return [_converted(disk, "qcow2")]


def _vhdx(disk: Disk) -> list[Path]:
    file = _converted(disk, "vhdx")
    settle_identifiers(file, disk.image_id)
    return [file]


def _vmdk(disk: Disk) -> list[Path]:
    file = _converted(disk, "vmdk", "-o", "subformat=streamOptimized")
    settle_content_id(file, disk.image_id)
    return [file]


def _compressed(disk: Disk) -> list[Path]:
    packed, block_map = _packed_names(disk)
    # not --single-thread: with workers, any number of them gives the same bytes
    command = ["zstd", "-q", "-9", f"--long={_WINDOW_LOG}", "-T0", "-o", str(packed)]
    run_command([*command, str(disk.path)])
    write_bmap(disk.path, disk.partitions, block_map)
    return [packed, block_map]


def _converted(disk: Disk, name: str, *options: str) -> Path:
    file = disk.path.with_suffix(f".{name}")
    # one coroutine: the order of the clusters, and so the bytes, is that of the disk
    command = ["qemu-img", "convert", "-m", "1", "-f", "raw", "-O", name, *options]
    run_command([*command, str(disk.path), str(file)])
    return file


def _vagrant(disk: Disk) -> list[Path]:
    if disk.architecture != AMD64:
        raise FactoryError("format 'vagrant' is for amd64 only; remove it from [image] formats")
    box = disk.path.with_suffix(".box")
    seed = next(part for part in disk.partitions if part.name == "seed")
    write_box(disk.path, seed, disk.image_id, box)
    return [box]


WRITERS: dict[str, Writer] = {
    "qcow2": _qcow2,
    "vhdx": _vhdx,
    "vmdk": _vmdk,
    "vagrant": _vagrant,
    PACKED: _compressed,
}
