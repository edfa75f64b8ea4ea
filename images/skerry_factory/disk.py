"""Assembles the disk of an image: four file systems behind a partition table.

    1 MiB    1 esp    FAT32   boot loader, unified kernel image
             2 root-a ext4    the OS
             3 seed   FAT16   empty; `stamp` fills it
             4 data   ext4    what outlives a slot; grows at first boot
    last MiB backup of the partition table

The files have no name that anybody looks for until they are whole; see output.py.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from skerry_factory.architecture import architecture
from skerry_factory.cache import remove_tree
from skerry_factory.definition import ESP_BYTES, SEED_BYTES, Definition
from skerry_factory.epoch import derived_uuid, volume_id
from skerry_factory.errors import FactoryError
from skerry_factory.filesystems import (
    copy_sparse,
    make_ext4,
    make_fat,
    make_sparse,
)
from skerry_factory.finish import FinishedTree
from skerry_factory.gpt import (
    ALIGNMENT_BYTES,
    TYPE_ESP,
    TYPE_LINUX,
    Partition,
    write_table,
)

LOADER_CONFIG = "timeout 0\neditor no\n"
FREE_ROOT_BYTES = 64 << 20


def plan_partitions(definition: Definition) -> list[Partition]:
    """Return the partitions of a definition's disk."""
    sizes = {"esp": ESP_BYTES, "root-a": definition.root_bytes, "seed": SEED_BYTES}
    sizes["data"] = definition.disk_bytes - 2 * ALIGNMENT_BYTES - sum(sizes.values())
    types = {"esp": TYPE_ESP, "root-a": architecture(definition.arch).root_type}
    partitions, offset = [], ALIGNMENT_BYTES
    for name, size in sizes.items():
        partitions.append(
            Partition(
                name=name,
                label=f"SKERRY-{name.upper()}",
                type=types.get(name, TYPE_LINUX),
                uuid=derived_uuid(definition.id, f"partition/{name}"),
                offset_bytes=offset,
                size_bytes=size,
            )
        )
        offset += size
    return partitions


def kernel_command_line(definition: Definition) -> list[str]:
    """Return the arguments of the kernel; the last console gets the messages of the boot."""
    root = next(part for part in plan_partitions(definition) if part.name == "root-a")
    arguments = [f"root=PARTUUID={root.uuid}", "rootfstype=ext4", "rw"]
    arguments += ["console=tty0", f"console={architecture(definition.arch).console}"]
    arguments += ["quiet", "panic=30"]
    # sshd listens by our own configuration; its generator fails where there is no AF_VSOCK
    arguments += ["systemd.ssh_auto=no"]
    return [*arguments, *definition.kernel_arguments]


def write_disk(definition: Definition, tree: FinishedTree, boot: Path, work: Path) -> Path:
    """Write the raw disk into `work` and return it; `boot` holds skerry.efi and the boot loader."""
    partitions = plan_partitions(definition)
    disk = work / f"{definition.id}.raw"
    writers = {
        "esp": lambda part: _write_esp(definition, part, boot, disk),
        "root-a": lambda part: _write_ext4(definition, part, tree.root, disk),
        "seed": lambda part: _write_fat(definition, part, 16, _new(work / "seed.tree"), disk),
        "data": lambda part: _write_ext4(definition, part, tree.data, disk),
    }
    make_sparse(disk, definition.disk_bytes)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda part: writers[part.name](part), partitions))
    write_table(disk, derived_uuid(definition.id, "disk"), partitions)
    return disk


def _write_esp(definition: Definition, part: Partition, boot: Path, disk: Path) -> None:
    tree = _new(disk.with_name("esp.tree"))
    for folder in ("EFI/BOOT", "EFI/Linux", "loader"):
        (tree / folder).mkdir(parents=True)
    loader = architecture(definition.arch).boot_file
    shutil.copyfile(boot / loader, tree / "EFI/BOOT" / loader)
    shutil.copyfile(boot / "skerry.efi", tree / "EFI/Linux/skerry.efi")
    (tree / "loader/loader.conf").write_text(LOADER_CONFIG, "utf-8")
    _write_fat(definition, part, 32, tree, disk)


def _write_fat(definition: Definition, part: Partition, bits: int, tree: Path, disk: Path) -> None:
    image, own = tree.with_suffix(".img"), volume_id(definition.id, part.name)
    make_fat(image, tree, size_bytes=part.size_bytes, bits=bits, label=part.label, own=own)
    copy_sparse(image, disk, part.offset_bytes)
    image.unlink()
    remove_tree(tree)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _write_ext4(definition: Definition, part: Partition, tree: Path, disk: Path) -> None:
    used = _used_bytes(tree)
    if used + FREE_ROOT_BYTES > part.size_bytes:
        raise FactoryError(
            f"partition {part.name!r} is too small: {used >> 20} MiB of files in "
            f"{part.size_bytes >> 20} MiB; raise [disk] root or size in image.toml"
        )
    make_ext4(
        disk,
        tree,
        offset_bytes=part.offset_bytes,
        size_bytes=part.size_bytes,
        label=part.label,
        own=derived_uuid(definition.id, f"file-system/{part.name}"),
        hash_seed=derived_uuid(definition.id, f"hash/{part.name}"),
    )


def _used_bytes(tree: Path) -> int:
    total = 0
    for folder, _, files in os.walk(tree):
        for name in files:
            total += -(-(Path(folder) / name).lstat().st_size // 4096) * 4096
    return total
