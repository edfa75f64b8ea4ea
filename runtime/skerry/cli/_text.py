"""What people read about modules: columns, states, ages. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


@dataclass(frozen=True)
class Row:
    """One module in a list."""

    name: str
    status: str
    description: str
    image: str


def row(module: Mapping[str, object], now: datetime) -> Row:
    """Return what a list says about a module, from its ModuleDetails."""
    status = _at(module, "status", "runtimeStatus", "status")
    return Row(
        name=_at(module, "name"),
        status=status,
        description=_description(module, status, now),
        image=_at(module, "config", "settings", "image"),
    )


def by_name(modules: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return modules in the order of their names."""
    return sorted(modules, key=lambda module: str(module.get("name")))


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines with columns as wide as their widest entry."""
    lines = [list(head), *(list(line) for line in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def age(span: timedelta) -> str:
    """Return a span in its largest unit: `3 minutes`, `1 hour`."""
    seconds = max(int(span.total_seconds()), 0)
    for unit, size in _UNITS:
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}" + ("" if number == 1 else "s")
    return "0 seconds"


def _description(module: Mapping[str, object], status: str, now: datetime) -> str:
    if status == "running":
        return f"Up {_age_of(_at(module, 'status', 'startTime'), now)}"
    code = _at(module, "status", "exitStatus", "statusCode")
    ago = _age_of(_at(module, "status", "exitStatus", "exitTime"), now)
    if status == "failed":
        return f"Failed ({code}) {ago} ago"
    if status == "stopped":
        return f"Stopped {ago} ago" if ago else "Not started yet"
    return status.capitalize()


def _age_of(text: str, now: datetime) -> str:
    try:
        return age(now - datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC))
    except ValueError:
        return ""


def _at(value: object, *path: str) -> str:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return "" if value is None else str(value)
