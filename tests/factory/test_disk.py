"""Disks: where the partitions lie, what the kernel is told, what is published and when."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from skerry_factory.definition import Definition, find_definition
from skerry_factory.disk import (
    Output,
    building_folder,
    kernel_command_line,
    plan_partitions,
    publish,
    write_formats,
)
from skerry_factory.filesystems import make_sparse
from skerry_factory.paths import Checkout

MIB = 1 << 20


@pytest.fixture
def definition() -> Definition:
    return find_definition("debian-13-amd64", Checkout.of_package())


def test_partitions_fill_the_disk_without_overlap(definition: Definition) -> None:
    """Four aligned partitions, in the order of docs/interfaces.md, up to the backup table."""
    partitions = plan_partitions(definition)
    assert [part.label for part in partitions] == [
        "SKERRY-ESP",
        "SKERRY-ROOT-A",
        "SKERRY-SEED",
        "SKERRY-DATA",
    ]
    ends = [part.offset_bytes + part.size_bytes for part in partitions]
    assert [part.offset_bytes for part in partitions] == [MIB, *ends[:-1]]
    assert ends[-1] == definition.disk_bytes - MIB


def test_identifiers_follow_from_the_definition(definition: Definition) -> None:
    """The same definition has the same identifiers, another one has others."""
    other = plan_partitions(replace(definition, id="other"))
    assert plan_partitions(definition) == plan_partitions(definition)
    assert not {p.uuid for p in other} & {p.uuid for p in plan_partitions(definition)}


def test_the_kernel_finds_its_root_by_lower_case_id(definition: Definition) -> None:
    """udev's links are lower case; an upper-case PARTUUID would not be found."""
    root = plan_partitions(definition)[1]
    arguments = kernel_command_line(replace(definition, kernel_arguments=("foo=1",)))
    assert arguments[0] == f"root=PARTUUID={str(root.uuid).lower()}"
    assert {"rw", "console=tty0", "console=ttyS0,115200n8"} <= set(arguments)
    assert arguments[-1] == "foo=1"


def test_formats_are_those_asked_for(definition: Definition, tmp_path: Path) -> None:
    """raw is always there; qcow2 when the definition names it, and the same twice."""
    disk = tmp_path / "x.raw"
    make_sparse(disk, 4 * MIB)
    both = write_formats(definition, disk)
    assert [output.format for output in both] == ["raw", "qcow2"]
    disk.with_suffix(".qcow2").unlink()
    assert write_formats(definition, disk) == both
    assert len(write_formats(replace(definition, formats=("raw",)), disk)) == 1


def test_half_made_files_have_a_folder_of_their_own(tmp_path: Path) -> None:
    """What a killed build left is removed by the next, and so is what a failed one made."""
    (tmp_path / ".building-dead").mkdir()
    (tmp_path / ".building-dead/x.raw").touch()

    def fail() -> None:
        with building_folder(tmp_path) as folder:
            (folder / "x.raw").touch()
            assert [path.name for path in tmp_path.iterdir()] == [folder.name]
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_appears_last(tmp_path: Path) -> None:
    """Files get their names before the manifest says that they are there."""
    with building_folder(tmp_path) as folder:
        (folder / "x.raw").write_text("disk")
        publish([Output(folder / "x.raw", "raw", "0")], {"id": "x"}, tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"id": "x"}
    times = [(tmp_path / name).stat().st_mtime_ns for name in ("x.raw", "manifest.json")]
    assert times == sorted(times)
