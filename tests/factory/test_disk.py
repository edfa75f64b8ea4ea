"""Disks: where the partitions lie, what the kernel is told."""

from dataclasses import replace

import pytest

from skerry_factory.definition import Definition, find_definition
from skerry_factory.disk import kernel_command_line, plan_partitions
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
