"""Gives a VHDX file that qemu-img made identifiers that follow from the image's name.

Layout ([MS-VHDX] 2.2 to 2.6), all numbers little-endian:

    0        "vhdxfile", then 512 bytes of UTF-16: who made it
    64 KiB   header: "head", crc32c, sequence, GUIDs of file, data and log, the log's place
    128 KiB  the second header
    192 KiB  region table: "regi", crc32c, entries; one of them leads to the metadata, which hold
             among others the identifier that the disk shows to a guest (page 83)
"""

import struct
import uuid
from pathlib import Path
from typing import BinaryIO

from skerry_factory.epoch import derived_uuid
from skerry_factory.errors import FactoryError

_KIB = 1024
_HEADERS_AT = (64 * _KIB, 128 * _KIB)
_HEADER_BYTES = 4 * _KIB
_CHECKSUM = slice(4, 8)
_SEQUENCE, _FILE_GUID, _DATA_GUID = slice(8, 16), slice(16, 32), slice(32, 48)
_LOG_GUID, _LOG_PLACE = slice(48, 64), struct.Struct("<68xIQ")
_REGIONS_AT, _TABLE_HEAD_BYTES, _ENTRY_BYTES = 192 * _KIB, 16, 32
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_METADATA_HEAD_BYTES = 32
_PAGE_83 = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
_CREATOR = "Skerry".encode("utf-16-le").ljust(512, b"\0")
_POLYNOMIAL = 0x82F63B78


def settle_identifiers(file: Path, image_id: str) -> None:
    """Replace the random identifiers of a file. Raises: FactoryError for one of another layout."""
    with file.open("r+b") as stream:
        if stream.read(8) != b"vhdxfile":
            raise FactoryError(f"{file} is no VHDX file")
        stream.write(_CREATOR)
        for sequence, at in enumerate(_HEADERS_AT, 1):
            _settle_header(stream, at, sequence, image_id)
        metadata = _region(stream, file)
        stream.seek(_item(stream, metadata, file))
        stream.write(derived_uuid(image_id, "vhdx/page83").bytes_le)


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 3720, appendix B.4 (Castagnoli)."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def _settle_header(stream: BinaryIO, at: int, sequence: int, image_id: str) -> None:
    stream.seek(at)
    header = bytearray(stream.read(_HEADER_BYTES))
    if any(header[_LOG_GUID]):
        raise FactoryError("qemu-img left a VHDX file that was not closed; build again")
    header[_SEQUENCE] = struct.pack("<Q", sequence)
    header[_FILE_GUID] = derived_uuid(image_id, "vhdx/file").bytes_le
    header[_DATA_GUID] = derived_uuid(image_id, "vhdx/data").bytes_le
    header[_CHECKSUM] = bytes(4)
    header[_CHECKSUM] = struct.pack("<I", crc32c(bytes(header)))
    stream.seek(at)
    stream.write(header)
    # of a file that was closed nobody reads the log; its entries have random names
    size, log = _LOG_PLACE.unpack_from(header)
    stream.seek(log)
    stream.write(bytes(size))


def _region(stream: BinaryIO, file: Path) -> int:
    """Return where the metadata are."""
    stream.seek(_REGIONS_AT)
    signature, _, count, _ = struct.unpack("<4sIII", stream.read(_TABLE_HEAD_BYTES))
    if signature == b"regi":
        for _ in range(count):
            name, at, _, _ = struct.unpack("<16sQII", stream.read(_ENTRY_BYTES))
            if uuid.UUID(bytes_le=name) == _METADATA:
                return int(at)
    raise FactoryError(f"{file} has no metadata; is this qemu-img newer than expected?")


def _item(stream: BinaryIO, metadata: int, file: Path) -> int:
    """Return where the identifier of page 83 is."""
    stream.seek(metadata)
    _, _, count = struct.unpack("<8sHH20x", stream.read(_METADATA_HEAD_BYTES))
    for _ in range(count):
        name, at, _, _, _ = struct.unpack("<16sIIII", stream.read(_ENTRY_BYTES))
        if uuid.UUID(bytes_le=name) == _PAGE_83:
            return metadata + int(at)
    raise FactoryError(f"{file} has no page 83; is this qemu-img newer than expected?")
