"""Partition tables: what is written is read back, by us and by util-linux."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from skerry_factory.errors import FactoryError
from skerry_factory.gpt import TYPE_ESP, TYPE_LINUX, Partition, read_table, write_table

MIB = 1 << 20
DISK_ID = uuid.UUID("11111111-2222-3333-4444-555555555555")


def partition(name: str, kind: uuid.UUID, start: int, size: int) -> Partition:
    own = uuid.uuid5(DISK_ID, name)
    return Partition(name, "", kind, own, start * MIB, size * MIB)


PARTITIONS = [partition("esp", TYPE_ESP, 1, 3), partition("däta", TYPE_LINUX, 4, 11)]


def disk(folder: Path) -> Path:
    path = folder / "disk.raw"
    with path.open("xb") as file:
        file.truncate(16 * MIB)
    return path


def test_a_table_is_read_back(tmp_path: Path) -> None:
    """Names, types, ids and extents survive."""
    path = disk(tmp_path)
    write_table(path, DISK_ID, PARTITIONS)
    assert read_table(path) == (DISK_ID, PARTITIONS)


def test_util_linux_agrees(tmp_path: Path) -> None:
    """sfdisk accepts the table, backup included, and sees the same partitions."""
    path = disk(tmp_path)
    write_table(path, DISK_ID, PARTITIONS)
    checked = subprocess.run(["sfdisk", "--verify", path], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    seen = json.loads(subprocess.check_output(["sfdisk", "--json", path]))["partitiontable"]
    assert seen["id"].lower() == str(DISK_ID)
    assert [(p["start"] * 512, p["size"] * 512, p["uuid"].lower()) for p in seen["partitions"]] == [
        (p.offset_bytes, p.size_bytes, str(p.uuid)) for p in PARTITIONS
    ]


def test_the_backup_alone_is_enough(tmp_path: Path) -> None:
    """With the primary header destroyed sfdisk still finds the partitions at the end."""
    path = disk(tmp_path)
    write_table(path, DISK_ID, PARTITIONS)
    with path.open("r+b") as file:
        file.seek(512)
        file.write(bytes(512))
    seen = subprocess.run(["sfdisk", "--json", path], capture_output=True, text=True)
    assert len(json.loads(seen.stdout)["partitiontable"]["partitions"]) == 2


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    """A flipped bit in the header is found by its checksum."""
    path = disk(tmp_path)
    write_table(path, DISK_ID, PARTITIONS)
    with path.open("r+b") as file:
        file.seek(512 + 56)
        file.write(b"\xff")
    with pytest.raises(FactoryError, match="damaged partition table"):
        read_table(path)


def test_a_file_without_table_is_refused(tmp_path: Path) -> None:
    """What is no disk image is told so."""
    with pytest.raises(FactoryError, match="has no GUID partition table"):
        read_table(disk(tmp_path))


def test_partitions_must_be_aligned(tmp_path: Path) -> None:
    """An offset inside a block cannot be written down."""
    odd = Partition("x", "", TYPE_LINUX, DISK_ID, MIB + 1, MIB)
    with pytest.raises(FactoryError, match="not aligned"):
        write_table(disk(tmp_path), DISK_ID, [odd])
