"""A difference for people: what matters to security first, then each area."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby

from skerry_factory.diff.compare import Change

SIGNS = {"added": "+", "removed": "-", "changed": "~"}
SHOWN = 60
"""Lines of one area; `--output json` has them all."""


def as_json(changes: Sequence[Change]) -> Mapping[str, object]:
    """Return the whole difference for programs."""
    return {
        "same": not changes,
        "security": sum(bool(change.why) for change in changes),
        "changes": [asdict(change) for change in changes],
    }


def as_text(changes: Sequence[Change]) -> str:
    """Return the difference for people; files of packages that changed are only counted."""
    if not changes:
        return "the images are the same"
    lines: list[str] = []
    security = [change for change in changes if change.why]
    rest = [change for change in changes if not change.why]
    if security:
        lines += _section("SECURITY", security)
    for area, group in groupby(rest, key=lambda change: change.area):
        lines += _section(area.upper(), list(group))
    return "\n".join([*lines, f"{len(changes)} changes, {len(security)} for security"])


def _section(title: str, changes: Sequence[Change]) -> list[str]:
    own = [change for change in changes if change.why or not change.package]
    owned = len(changes) - len(own)
    lines = [title, *(_line(change) for change in own[:SHOWN])]
    if len(own) > SHOWN:
        lines.append(f"  … {len(own) - SHOWN} more: --output json")
    if owned:
        lines.append(f"  … {owned} files of packages with another version: --output json")
    return [*lines, ""]


def _line(change: Change) -> str:
    name = f"{change.area} {change.name}" if change.why else change.name
    told = " => ".join(text for text in (change.before, change.after) if text)
    reason = f"  [{change.why}]" if change.why else ""
    return f"  {SIGNS[change.what]} {name}: {told}{reason}" if told else f"  {name}{reason}"
