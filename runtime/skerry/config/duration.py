"""Durations as upstream writes them: `1d`, `36h`, `1h 30m`, `7 days`."""

import re

_UNITS = {
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hr": 3600, "hrs": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400,
    "w": 604800, "week": 604800, "weeks": 604800,
}  # fmt: skip
_PART = re.compile(r"(\d+) ?([A-Za-z]+) ?")


def seconds_of(text: str) -> int | None:
    """Return the seconds of a duration, None if it is none."""
    total = 0
    at = 0
    while at < len(text) or not text:
        part = _PART.match(text, at)
        if part is None or part[2] not in _UNITS:
            return None
        total += int(part[1]) * _UNITS[part[2]]
        at = part.end()
    return total
