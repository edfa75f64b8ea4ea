"""Formats: each holds the disk, twice the same, and is read by the programs it is made for."""

import subprocess
import uuid
from pathlib import Path

import pytest

from skerry_factory.bmap import BLOCK_BYTES, needed_blocks
from skerry_factory.errors import CommandError, FactoryError
from skerry_factory.filesystems import copy_sparse, make_ext4, make_fat, make_sparse
from skerry_factory.formats import WRITERS, Disk, settle_content_id, write_formats
from skerry_factory.gpt import ALIGNMENT_BYTES, TYPE_ESP, TYPE_LINUX, Partition, write_table
from skerry_factory.vhdx import crc32c, settle_identifiers

MIB = 1 << 20
OWN = uuid.UUID(int=7)
CONVERTED = ("qcow2", "vhdx", "vmdk")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A disk with a FAT and an ext4 file system, each with a file."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(bytes(range(256)) * 4096)
    # in use, but zero: a hole of the disk that a writer must not leave out
    (tree / "zeros").write_bytes(bytes(MIB))
    esp = Partition("esp", "SKERRY-ESP", TYPE_ESP, uuid.UUID(int=1), MIB, 48 * MIB)
    root = Partition("root-a", "R", TYPE_LINUX, uuid.UUID(int=2), 49 * MIB, 64 * MIB)
    file = tmp_path / "box.raw"
    make_sparse(file, root.offset_bytes + root.size_bytes + ALIGNMENT_BYTES)
    fat = tmp_path / "fat"
    make_fat(fat, tree, size_bytes=esp.size_bytes, bits=32, label=esp.label, own="00000007")
    copy_sparse(fat, file, esp.offset_bytes)
    make_ext4(
        file,
        tree,
        offset_bytes=root.offset_bytes,
        size_bytes=root.size_bytes,
        label="R",
        own=OWN,
        hash_seed=OWN,
    )
    write_table(file, OWN, [esp, root])
    return Disk(file, "box", [esp, root])


def test_every_format_is_made_and_is_the_same_twice(disk: Disk) -> None:
    """The raw disk comes first; what was random in a format follows from the definition's id."""
    # a Vagrant box needs a seed partition: test_vagrant.py
    formats = ("raw", *(name for name in WRITERS if name != "vagrant"))
    first = write_formats(disk, formats)
    assert first[0].path == disk.path
    names = [output.path.name for output in first]
    assert names == ["box.raw", "box.qcow2", "box.vhdx", "box.vmdk", "box.raw.zst", "box.bmap"]
    for output in first[1:]:
        output.path.unlink()
    assert write_formats(disk, formats) == first
    assert [output.format for output in write_formats(disk, ("raw",))] == ["raw"]


@pytest.mark.parametrize("name", CONVERTED)
def test_a_converted_disk_is_sound_and_holds_the_same(disk: Disk, name: str) -> None:
    """QEMU finds no damage, and the content of the raw disk."""
    file = write_formats(disk, (name,))[1].path
    compare = ["qemu-img", "compare", "-f", "raw", "-F", name, str(disk.path), str(file)]
    assert subprocess.run(compare, check=False).returncode == 0
    if name != "vmdk":  # qemu-img has no check for stream-optimised files
        check = ["qemu-img", "check", "-f", name, str(file)]
        assert subprocess.run(check, check=False).returncode == 0


def test_bmaptool_takes_the_map(disk: Disk, tmp_path: Path) -> None:
    """Its digests hold, and what it writes is the disk."""
    write_formats(disk, ("raw.zst",))
    names = [str(tmp_path / name) for name in ("box.bmap", "box.raw.zst", "new")]
    copy = ["bmaptool", "copy", "--bmap", *names]
    done = subprocess.run(copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new").read_bytes() == disk.path.read_bytes()


def test_a_used_disk_is_whole_when_written_by_its_map(disk: Disk, tmp_path: Path) -> None:
    """The file systems are sound over what another system left in the blocks left out."""
    mapped = needed_blocks(disk.path, disk.partitions)
    wanted = disk.path.read_bytes()
    used = bytearray(b"\xa5" * len(wanted))
    for block in range(len(mapped)):
        if mapped[block]:
            piece = slice(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
            used[piece] = wanted[piece]
    assert sum(mapped) < len(mapped) / 2
    for part, check in zip(disk.partitions, (["fsck.vfat", "-n"], ["e2fsck", "-fn"]), strict=True):
        alone = tmp_path / part.name
        alone.write_bytes(used[part.offset_bytes : part.offset_bytes + part.size_bytes])
        assert subprocess.run([*check, str(alone)], check=False).returncode == 0
    for file in (tmp_path / "tree").iterdir():
        read = ["mtype", "-i", str(tmp_path / "esp"), f"::{file.name}"]
        found = subprocess.run(read, capture_output=True, check=True).stdout
        assert found == file.read_bytes()


def test_free_space_that_holds_something_is_written_too(disk: Disk) -> None:
    """Nothing that is on the raw disk is missing on the written one."""
    part = disk.partitions[1]
    mapped = needed_blocks(disk.path, disk.partitions)
    first = part.offset_bytes // BLOCK_BYTES
    free = mapped.index(0, first)
    with disk.path.open("r+b") as stream:
        stream.seek(free * BLOCK_BYTES + 17)
        stream.write(b"x")
    again = needed_blocks(disk.path, disk.partitions)
    assert again[free] == 1
    assert sum(again) == sum(mapped) + 1


def test_a_partition_of_another_kind_is_refused(disk: Disk, tmp_path: Path) -> None:
    """What is free in it cannot be known."""
    with disk.path.open("r+b") as stream:
        stream.seek(disk.partitions[1].offset_bytes)
        stream.write(bytes(4096))
    with pytest.raises(FactoryError, match=r"'root-a' of .* holds neither ext4 nor FAT"):
        needed_blocks(disk.path, disk.partitions)


def test_a_converter_that_fails_says_why(disk: Disk) -> None:
    """The words of qemu-img reach the operator."""
    disk.path.with_suffix(".qcow2").mkdir()
    with pytest.raises(CommandError, match="qemu-img"):
        write_formats(disk, ("qcow2",))


def test_a_content_id_of_any_length_is_replaced(tmp_path: Path) -> None:
    """qemu-img writes it without leading zeros; what follows keeps its place in the text."""
    found = set()
    for number in (b"5e4d5a7c", b"7c", b"0"):
        file = tmp_path / "x.vmdk"
        text = b"# Disk DescriptorFile\nCID=" + number + b"\nparentCID=ffffffff\n"
        file.write_bytes(bytes(512) + text.ljust(20 * 512, b"\0") + b"grains")
        settle_content_id(file, "box")
        found.add(file.read_bytes())
    (settled,) = found
    assert settled.endswith(b"grains")
    assert b"\nparentCID=ffffffff\n\0" in settled
    file.write_bytes(bytes(1024))
    with pytest.raises(FactoryError, match="has no content id"):
        settle_content_id(file, "box")


def test_only_a_vhdx_file_gets_identifiers(tmp_path: Path) -> None:
    """A file of another kind is left as it is."""
    file = tmp_path / "x.vhdx"
    file.write_bytes(b"something")
    with pytest.raises(FactoryError, match="is no VHDX file"):
        settle_identifiers(file, "x")
    assert file.read_bytes() == b"something"


def test_the_checksum_is_that_of_the_standard() -> None:
    """The example of RFC 3720, B.4: 32 bytes of zeros."""
    assert crc32c(bytes(32)) == 0x8A9136AA
