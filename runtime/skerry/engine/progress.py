"""What an engine tells while it works: failure is told inside the progress, under status 200."""

import json
from collections.abc import Iterable, Mapping
from typing import Any


def progress_error(lines: Iterable[bytes]) -> str:
    """Read lines of JSON to their end; returns the last reason of a failure, empty for none."""
    return last_error(_steps(lines))


def last_error(steps: Iterable[Mapping[str, Any]]) -> str:
    """Read steps to their end; returns the last reason of a failure, empty for none."""
    reason = ""
    for step in steps:
        reason = str(step.get("error") or (step.get("errorDetail") or {}).get("message") or reason)
    return reason


def with_remedy(reason: str) -> str:
    """Return a reason with what to do about it, where that is known."""
    if "no space left on device" in reason:
        return f"{reason}; the disk is full: free space, for example with: docker image prune"
    return reason


def _steps(lines: Iterable[bytes]) -> Iterable[Mapping[str, Any]]:
    for line in lines:
        try:
            step = json.loads(line) if line else {}
        except ValueError:
            step = {"error": f"the engine said {line[:200]!r}, which is no JSON"}
        yield step if isinstance(step, dict) else {}
