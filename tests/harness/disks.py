"""A disk as a build makes it, but of megabytes: system partition, root, data."""

import uuid
from collections.abc import Mapping
from pathlib import Path

from skerry_factory.filesystems import copy_sparse, make_ext4, make_fat, make_sparse
from skerry_factory.gpt import TYPE_ESP, TYPE_LINUX, Partition, write_table

MIB = 1 << 20
PLAN = {"esp": (TYPE_ESP, 1), "root-a": (TYPE_LINUX, 3), "data": (TYPE_LINUX, 7)}


def small_disk(work: Path, trees: Mapping[str, Mapping[str, str]]) -> Path:
    """Write disk.raw into a folder; `trees` maps a partition to its files and their text."""
    disk, own, parts = work / "disk.raw", uuid.UUID(int=1), []
    make_sparse(disk, 13 * MIB)
    for name, (kind, at) in PLAN.items():
        size = (2 if name == "esp" else 4) * MIB
        parts.append(Partition(name, "", kind, own, at * MIB, size))
        tree = work / name
        tree.mkdir()
        for path, text in trees.get(name, {}).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text, "utf-8")
        if kind == TYPE_ESP:
            make_fat(work / "esp.img", tree, size_bytes=size, bits=12, label="E", own="1")
            copy_sparse(work / "esp.img", disk, at * MIB)
        else:
            make_ext4(
                disk,
                tree,
                offset_bytes=at * MIB,
                size_bytes=size,
                label="X",
                own=own,
                hash_seed=own,
            )
    write_table(disk, own, parts)
    return disk
