"""Sizes and spans as people read them."""

from datetime import timedelta

_BYTES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def days(span: timedelta) -> str:
    """Return a span in its largest unit: `5 days`, `1 hour`, `20 minutes`."""
    seconds = int(span.total_seconds())
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}" + ("" if number == 1 else "s")
    return f"{seconds} seconds"


def size(number: int) -> str:
    """Return a number of bytes: `1.5 GiB`."""
    for unit_bytes, unit in _BYTES:
        if number >= unit_bytes:
            return f"{number / unit_bytes:.1f} {unit}"
    return f"{number} bytes"
