"""Unified kernel images: sections arrive, headers stay true, wrong stubs are refused."""

import struct
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from skerry_factory.errors import FactoryError
from skerry_factory.uki import SECTION_ORDER, build_uki, read_sections

EPOCH = 1_700_000_000
SECTIONS = {name: f"content of {name}".encode() * 50 for name in SECTION_ORDER}


def stub(*, headers_bytes: int = 1024, magic: int = 0x20B) -> bytes:
    """Return a minimal PE32+ file with one section, as an EFI stub is."""
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, magic)
    struct.pack_into("<II", optional, 32, 4096, 512)
    struct.pack_into("<II", optional, 56, 8192, headers_bytes)
    struct.pack_into("<H", optional, 68, 10)
    struct.pack_into("<I", optional, 108, 16)
    coff = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0x22E)
    text = struct.pack(
        "<8sIIIIIIHHI", b".text", 600, 4096, 1024, headers_bytes, 0, 0, 0, 0, 0x60000020
    )
    head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + coff + bytes(optional) + text
    return head.ljust(headers_bytes, b"\0") + b"\x90" * 1024


def test_all_sections_arrive() -> None:
    """Each section is found under its name with its content, beside the stub's own."""
    found = read_sections(build_uki(stub(), SECTIONS, EPOCH))
    assert {name: found[name] for name in SECTION_ORDER} == SECTIONS
    assert found[".text"] == b"\x90" * 600


def test_the_same_inputs_give_the_same_bytes() -> None:
    """Nothing but the inputs is in the image; the time stamp is the epoch."""
    image = build_uki(stub(), SECTIONS, EPOCH)
    assert image == build_uki(stub(), SECTIONS, EPOCH)
    assert struct.unpack_from("<I", image, 64 + 8) == (EPOCH,)


def test_binutils_reads_the_image(tmp_path: Path) -> None:
    """objdump lists the sections at addresses that do not overlap."""
    file = tmp_path / "image.efi"
    file.write_bytes(build_uki(stub(), SECTIONS, EPOCH))
    listing = subprocess.check_output(["objdump", "-h", file], text=True)
    rows = [line.split() for line in listing.splitlines() if " ." in line]
    extents = sorted((int(row[3], 16), int(row[2], 16)) for row in rows)
    assert [row[1] for row in rows] == [".text", *SECTION_ORDER]
    assert all(a + size <= b for (a, size), (b, _) in pairwise(extents))


def test_the_checksum_is_that_of_the_specification() -> None:
    """The stored sum equals the folded 16-bit sum of the file without it, plus its length."""
    image = bytearray(build_uki(stub(), SECTIONS, EPOCH))
    at = 64 + 24 + 64
    (stored,) = struct.unpack_from("<I", image, at)
    struct.pack_into("<I", image, at, 0)
    total = 0
    for (word,) in struct.iter_unpack("<H", bytes(image)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    assert stored == total + len(image)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x7fELF" + bytes(100), "not a PE file"),
        (b"MZ" + bytes(58) + struct.pack("<I", 64) + bytes(100), "has no PE header"),
        (stub(magic=0x10B), "not PE32+"),
        (stub(headers_bytes=512), "no room"),
    ],
    ids=["an ELF file", "DOS program", "32 bit", "full header"],
)
def test_wrong_stubs_are_refused(data: bytes, told: str) -> None:
    """What is no EFI stub is named as such, before anything is written."""
    with pytest.raises(FactoryError, match=told):
        build_uki(data, SECTIONS, EPOCH)


def test_a_missing_section_is_refused() -> None:
    """All five sections are needed."""
    without = {name: data for name, data in SECTIONS.items() if name != ".initrd"}
    with pytest.raises(FactoryError, match="needs exactly"):
        build_uki(stub(), without, EPOCH)
