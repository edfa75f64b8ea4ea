"""Times as the APIs write and read them."""

import re
from datetime import UTC, datetime

_UNIT_SECONDS = {
    "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hr": 3600,
    "hour": 3600, "d": 86400, "day": 86400, "w": 604800, "week": 604800, "month": 2630016,
    "y": 31557600, "year": 31557600,
}  # fmt: skip
_PART = re.compile(r"(\d+)\s*([a-z]+)")


def rfc3339(moment: datetime) -> str:
    """Return a time with `Z`, as upstream writes it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def point_in_time(text: str, now: datetime) -> float:
    """Read "1 day", "90m" (before now), RFC 3339 or unix seconds; returns unix seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    seconds = duration_seconds(text)
    if seconds is not None:
        return now.timestamp() - seconds
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise ValueError(
            f"time {text!r} is not understood; expected '90m', '1 day', "
            "'2026-01-31T12:00:00Z' or unix seconds"
        ) from error
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def duration_seconds(text: str) -> int | None:
    """Return the seconds of "90m", "1 day" or "1h 30m"; None for what is no duration."""
    parts = _PART.findall(text.lower())
    if not parts or _PART.sub("", text.lower()).strip():
        return None
    total = 0
    for number, unit in parts:
        seconds = _UNIT_SECONDS.get(unit) or _UNIT_SECONDS.get(unit.removesuffix("s"))
        if seconds is None:
            return None
        total += int(number) * seconds
    return total
