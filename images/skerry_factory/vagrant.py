"""The image as a Vagrant box for libvirt: a tar of metadata.json, Vagrantfile and box.img (qcow2).

Vagrant logs in with a key that everybody knows and replaces it at the first `vagrant up`. That key
is in a seed which only the disk of the box has; the image itself stays sealed (decision 0205).
"""

import json
from pathlib import Path

from skerry_factory.bundle import write_bundle
from skerry_factory.command import run_command
from skerry_factory.epoch import volume_id
from skerry_factory.filesystems import copy_sparse, make_fat, make_sparse
from skerry_factory.gpt import Partition
from skerry_factory.paths import package_data
from skerry_factory.stamp import with_manifest

GIB = 1 << 30
DEVICE = "vagrant"


def write_box(disk: Path, seed: Partition, image_id: str, target: Path) -> None:
    """Write the box of a raw disk whose seed partition is `seed`."""
    seeded, packed = target.with_suffix(".seeded"), target.with_suffix(".img")
    size_bytes = disk.stat().st_size
    make_sparse(seeded, size_bytes)
    copy_sparse(disk, seeded, 0)
    _write_seed(seeded, seed, image_id)
    # one coroutine: the order of the clusters, and so the bytes, is that of the disk
    convert = ["qemu-img", "convert", "-m", "1", "-c", "-f", "raw", "-O", "qcow2"]
    options = ["-o", "compression_type=zstd"]
    run_command([*convert, *options, str(seeded), str(packed)])
    seeded.unlink()
    size_gib = -(-size_bytes // GIB)
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": size_gib}
    members: dict[str, bytes | Path] = {
        "metadata.json": json.dumps(metadata).encode(),
        "Vagrantfile": package_data("vagrant/Vagrantfile").read_bytes(),
        "box.img": packed,
    }
    with target.open("xb") as stream:
        write_bundle(members, stream)
    packed.unlink()


def seed_of_box() -> dict[str, bytes]:
    """Return the files of the seed: a device that needs no cloud, and Vagrant's public key."""
    files = {
        "authorized_keys": package_data("vagrant/insecure.pub").read_bytes(),
        "config.toml": package_data("vagrant/config.toml").read_bytes(),
    }
    return with_manifest(DEVICE, files)


def _write_seed(disk: Path, seed: Partition, image_id: str) -> None:
    tree, volume = disk.with_suffix(".seed.tree"), disk.with_suffix(".seed")
    tree.mkdir()
    for name, data in seed_of_box().items():
        (tree / name).write_bytes(data)
    own = volume_id(image_id, seed.name)
    make_fat(volume, tree, size_bytes=seed.size_bytes, bits=16, label="SKERRY-SEED", own=own)
    copy_sparse(volume, disk, seed.offset_bytes)
    volume.unlink()
    for file in tree.iterdir():
        file.unlink()
    tree.rmdir()
