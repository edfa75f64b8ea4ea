"""Unified kernel images: appends sections to systemd's EFI stub, in pure Python and reproducibly.

The stub finds its sections by name. Each is added as initialised, read-only data behind the last
one; header counters, image size, time stamp and checksum follow. Layout: PE format specification
(sections 3 and 4); section names: the UAPI specification "Unified Kernel Image".
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from skerry_factory.errors import FactoryError

INITIALISED_READ_ONLY_DATA = 0x40000040
SECTION_HEADER_BYTES = 40
SECTION_ORDER = (".osrel", ".cmdline", ".uname", ".linux", ".initrd")


@dataclass(frozen=True)
class _Header:
    """Offsets and values of a PE32+ file that appending needs."""

    coff: int
    optional: int
    sections: int
    count: int
    section_alignment: int
    file_alignment: int


def build_uki(stub: bytes, sections: Mapping[str, bytes], epoch: int) -> bytes:
    """Return the stub with all `sections` appended, in the order of SECTION_ORDER."""
    missing = [name for name in SECTION_ORDER if name not in sections]
    if missing or len(sections) != len(SECTION_ORDER):
        raise FactoryError(f"a unified kernel image needs exactly {SECTION_ORDER}, not {missing}")
    header = _parse(stub)
    image = bytearray(stub)
    table_end = header.sections + (header.count + len(SECTION_ORDER)) * SECTION_HEADER_BYTES
    first_raw, next_virtual = _extents(stub, header)
    if table_end > first_raw:
        raise FactoryError(
            f"the EFI stub has no room for {len(SECTION_ORDER)} more section headers; "
            "expected systemd's stub of the architecture"
        )
    for index, name in enumerate(SECTION_ORDER):
        data = sections[name]
        image += bytes(-len(image) % header.file_alignment)
        at = header.sections + (header.count + index) * SECTION_HEADER_BYTES
        raw_size = _round_up(len(data), header.file_alignment)
        image[at : at + SECTION_HEADER_BYTES] = struct.pack(
            "<8sIIIIIIHHI",
            name.encode(),
            len(data),
            next_virtual,
            raw_size,
            len(image),
            0,
            0,
            0,
            0,
            INITIALISED_READ_ONLY_DATA,
        )
        image += data + bytes(raw_size - len(data))
        next_virtual = _round_up(next_virtual + max(len(data), 1), header.section_alignment)
    struct.pack_into("<H", image, header.coff + 2, header.count + len(SECTION_ORDER))
    struct.pack_into("<I", image, header.coff + 4, epoch)
    struct.pack_into("<I", image, header.optional + 56, next_virtual)
    struct.pack_into("<I", image, header.optional + 60, _round_up(table_end, header.file_alignment))
    struct.pack_into("<I", image, header.optional + 64, 0)
    struct.pack_into("<I", image, header.optional + 64, _checksum(image))
    return bytes(image)


def read_sections(image: bytes) -> dict[str, bytes]:
    """Return the sections of a PE file by name, as the stub will see them."""
    header = _parse(image)
    found = {}
    for index in range(header.count):
        at = header.sections + index * SECTION_HEADER_BYTES
        name, size, _, raw_size, raw = struct.unpack_from("<8sIIII", image, at)
        found[name.rstrip(b"\0").decode()] = image[raw : raw + min(size, raw_size)]
    return found


def _parse(image: bytes) -> _Header:
    if image[:2] != b"MZ":
        raise FactoryError(
            "the EFI stub is not a PE file; expected systemd's stub of the architecture"
        )
    (pe,) = struct.unpack_from("<I", image, 0x3C)
    if image[pe : pe + 4] != b"PE\0\0":
        raise FactoryError(
            "the EFI stub has no PE header; expected systemd's stub of the architecture"
        )
    coff = pe + 4
    count, optional_bytes = struct.unpack_from("<H12xH", image, coff + 2)
    optional = coff + 20
    if struct.unpack_from("<H", image, optional) != (0x20B,):
        raise FactoryError("the EFI stub is not PE32+; expected systemd's stub of the architecture")
    section_alignment, file_alignment = struct.unpack_from("<II", image, optional + 32)
    sections = optional + optional_bytes
    return _Header(coff, optional, sections, count, section_alignment, file_alignment)


def _extents(image: bytes, header: _Header) -> tuple[int, int]:
    """Return where the first section's data starts, and the first free virtual address."""
    first_raw, end = len(image), 0
    for index in range(header.count):
        at = header.sections + index * SECTION_HEADER_BYTES
        size, address, raw_size, raw = struct.unpack_from("<IIII", image, at + 8)
        if raw_size:
            first_raw = min(first_raw, raw)
        end = max(end, address + size)
    return first_raw, _round_up(end, header.section_alignment)


def _checksum(image: bytearray) -> int:
    """Return the PE checksum: the 16-bit one's complement sum of the file, plus its length."""
    padded = bytes(image) + bytes(-len(image) % 4)
    # 2**16 is 1 modulo 65535, so the folded sum of 16-bit words is the number modulo 65535
    folded = int.from_bytes(padded, "little") % 0xFFFF
    if folded == 0 and any(padded):
        folded = 0xFFFF
    return folded + len(image)


def _round_up(value: int, alignment: int) -> int:
    return (value + alignment - 1) // alignment * alignment
