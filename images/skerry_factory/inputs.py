"""What goes into a build step, by name: the key of its result, and what changed since the last one.

    <cache>/last/<id>.json    the inputs of each step of the definition's latest build

The key is made of the inputs and of nothing else, so that `--why` cannot miss what a key holds.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.base.files import write_atomic
from skerry_factory.cache import Cache, key_of

SHOWN_CHARACTERS = 40
NEVER_BUILT = "never built here"
FORGOTTEN = "its result is no longer in the cache"


@dataclass(frozen=True)
class StepInputs:
    """One step of a build; `step` is the cache's folder for it, `name` tells roles apart."""

    step: str
    name: str
    values: Mapping[str, object]

    @property
    def key(self) -> str:
        return key_of(*self.values.values())


def remember(cache: Cache, definition: str, steps: Iterable[StepInputs]) -> None:
    """Keep the inputs of a definition's latest build."""
    content = {step.name: step.values for step in steps}
    file = _file(cache, definition)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(content).encode(), mode=0o644)


def recall(cache: Cache, definition: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the inputs of the latest build by step; empty when there was none."""
    try:
        content = json.loads(_file(cache, definition).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def reasons(step: StepInputs, last: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return why a step that is not cached has to run: each input that differs."""
    if step.name not in last:
        return [NEVER_BUILT]
    now: dict[str, Any] = json.loads(json.dumps(step.values))
    return list(_differences(last[step.name], now, "")) or [FORGOTTEN]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        before, after, path = old.get(name), new.get(name), f"{prefix}{name}"
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{path}: ")
        elif isinstance(before, list) and isinstance(after, list) and _are_names(before + after):
            more = [f"+{one}" for one in after if one not in before]
            less = [f"-{one}" for one in before if one not in after]
            yield f"{path}: {' '.join(more + less) or 'another order'}"
        elif _is_short(before) and _is_short(after):
            yield f"{path}: {json.dumps(before)} → {json.dumps(after)}"
        else:
            yield f"{path}: changed"


def _are_names(values: list[object]) -> bool:
    return all(isinstance(value, str) and value for value in values)


def _is_short(value: object) -> bool:
    return len(json.dumps(value)) <= SHOWN_CHARACTERS


def _file(cache: Cache, definition: str) -> Path:
    return cache.root / "last" / f"{definition}.json"
