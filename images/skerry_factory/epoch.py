"""The one time stamp of an image, and the identifiers derived from names.

Nothing in an image is younger than `SOURCE_DATE_EPOCH`; identifiers are uuid5 of the definition's
id, so that the same definition always makes the same disk.
"""

import uuid

SOURCE_DATE_EPOCH = 1_788_220_800
"""2026-09-01T00:00:00Z; moved by hand with a release."""

NAMESPACE = uuid.UUID("6b0c7f0e-5d0b-4f3c-9f57-3f6a6f0f2a11")


def derived_uuid(image_id: str, name: str) -> uuid.UUID:
    """Return the identifier of one part of an image, such as a partition."""
    return uuid.uuid5(NAMESPACE, f"{image_id}/{name}")


def volume_id(image_id: str, name: str) -> str:
    """Return the 32-bit serial of a FAT file system as 8 hexadecimal digits."""
    return derived_uuid(image_id, name).hex[:8]
