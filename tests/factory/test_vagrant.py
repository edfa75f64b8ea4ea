"""The Vagrant box: what Vagrant needs, the same bytes twice, its key in no other file."""

import json
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest

from skerry_factory.architecture import ARM64
from skerry_factory.errors import FactoryError
from skerry_factory.filesystems import make_sparse
from skerry_factory.formats import Disk, write_formats
from skerry_factory.gpt import TYPE_LINUX, Partition
from skerry_factory.paths import package_data
from skerry_factory.stamp import config_problems
from skerry_factory.vagrant import seed_of_box, write_box

MIB = 1 << 20
SEED = Partition("seed", "SKERRY-SEED", TYPE_LINUX, uuid.UUID(int=3), MIB, 16 * MIB)
KEY = package_data("vagrant/insecure.pub").read_bytes()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A disk with an empty seed partition."""
    file = tmp_path / "box.raw"
    make_sparse(file, 18 * MIB)
    return Disk(file, "box", [SEED])


def test_the_box_is_the_same_twice_and_nothing_else_is_left(disk: Disk) -> None:
    """The image of the box is made from the disk, which stays as it was."""
    before = disk.path.read_bytes()
    first = write_formats(disk, ("vagrant",))
    first[1].path.unlink()
    assert write_formats(disk, ("vagrant",)) == first
    assert sorted(file.name for file in disk.path.parent.iterdir()) == ["box.box", "box.raw"]
    assert disk.path.read_bytes() == before


def test_vagrant_finds_its_files_and_its_key(disk: Disk, tmp_path: Path) -> None:
    """A qcow2 with the seed of the box in the place of the empty one."""
    box = tmp_path / "new.box"
    write_box(disk.path, SEED, "box", box)
    with tarfile.open(box) as archive:
        assert archive.getnames() == ["Vagrantfile", "box.img", "metadata.json"]
    (tmp_path / "new").mkdir()
    subprocess.run(["tar", "-xf", box, "-C", tmp_path / "new"], check=True)
    metadata = json.loads((tmp_path / "new/metadata.json").read_text())
    assert metadata == {"provider": "libvirt", "format": "qcow2", "virtual_size": 1}
    names = [str(tmp_path / "new/box.img"), str(tmp_path / "new.raw")]
    subprocess.run(["qemu-img", "convert", "-O", "raw", *names], check=True)
    read = ["mtype", "-i", f"{tmp_path / 'new.raw'}@@{MIB}", "::authorized_keys"]
    assert subprocess.run(read, capture_output=True, check=True).stdout == KEY


def test_a_device_takes_the_seed() -> None:
    """Its configuration is valid, and what everybody knows opens nothing but the box."""
    assert config_problems(seed_of_box(), "config.toml") == []
    assert b"/etc/skerry/ssh/authorized_keys" in package_data("vagrant/Vagrantfile").read_bytes()


def test_a_box_of_another_architecture_is_refused(disk: Disk) -> None:
    """Its Vagrantfile names the firmware of amd64."""
    with pytest.raises(FactoryError, match="'vagrant' is for amd64 only"):
        write_formats(Disk(disk.path, "box", [SEED], ARM64), ("vagrant",))
    assert [file.name for file in disk.path.parent.iterdir()] == ["box.raw"]
