"""A small image: a disk with a seed partition like a real one's, and its manifest."""

import hashlib
import json
import subprocess
import uuid
from pathlib import Path

from skerry_factory.filesystems import copy_sparse, make_fat, make_sparse
from skerry_factory.gpt import TYPE_LINUX, Partition, write_table

MIB = 1 << 20
OFFSET, SIZE = 8 * MIB, 64 * MIB


def make_small_image(parent: Path) -> Path:
    """Make the folder of an image, as a build leaves it: box.raw, box.qcow2, manifest.json."""
    folder = parent / "box"
    folder.mkdir()
    raw = folder / "box.raw"
    make_sparse(raw, 80 * MIB)
    (parent / "empty").mkdir()
    seed = parent / "seed.img"
    make_fat(seed, parent / "empty", size_bytes=SIZE, bits=16, label="SKERRY-SEED", own="1234abcd")
    copy_sparse(seed, raw, OFFSET)
    own = uuid.UUID(int=7)
    write_table(raw, own, [Partition("seed", "SKERRY-SEED", TYPE_LINUX, own, OFFSET, SIZE)])
    publish(folder, raw)
    return folder


def publish(folder: Path, raw: Path) -> None:
    """Convert the disk and write the manifest, as a build does."""
    qcow2 = raw.with_suffix(".qcow2")
    qcow2.unlink(missing_ok=True)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, qcow2], check=True)
    partition = {"name": "seed", "offset_bytes": OFFSET, "size_bytes": SIZE}
    outputs = [
        {
            "file": p.name,
            "format": p.suffix[1:],
            "sha256": hashlib.sha256(p.read_bytes()).hexdigest(),
        }
        for p in (raw, qcow2)
    ]
    manifest = {"id": "box", "partitions": [partition], "outputs": outputs}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def files_on(disk: Path, folder: Path, offset_bytes: int = OFFSET) -> dict[str, bytes]:
    """Return what is on the seed partition of a disk; `folder` is for a copy of it."""
    raw = folder / "whole.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    found = files_of_fat(raw, offset_bytes)
    raw.unlink()
    return found


def files_of_fat(file: Path, offset_bytes: int = 0) -> dict[str, bytes]:
    """Return what is in a FAT file system, as mtools read it."""
    place = f"{file}@@{offset_bytes}"
    listed = subprocess.check_output(["mdir", "-/", "-b", "-i", place, "::"], text=True)
    names = [line.removeprefix("::/") for line in listed.split("\n") if line and line[-1] != "/"]
    return {n: subprocess.check_output(["mtype", "-i", place, f"::/{n}"]) for n in names}


def make_stick(folder: Path, files: dict[str, bytes]) -> Path:
    """Make the image of a USB stick with files at its root."""
    tree, image = folder / "stick", folder / "stick.img"
    tree.mkdir()
    for name, data in files.items():
        (tree / name).write_bytes(data)
    make_fat(image, tree, size_bytes=SIZE, bits=16, label="SKERRY-SEED", own="1234abcd")
    return image
