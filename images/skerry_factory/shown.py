"""A resolved definition for people: every value, and the file and line that it comes from."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skerry.config.problems import KeyPath, key_text
from skerry_factory.definition import load_tables
from skerry_factory.layers import Layers

DEFAULT = "default"


@dataclass(frozen=True)
class Shown:
    """One value; `source` is `file:line`, relative to the checkout, or `default`."""

    key: str
    value: object
    source: str

    @property
    def text(self) -> str:
        return f"{self.key} = {json.dumps(self.value, ensure_ascii=False)}"

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def shown_values(file: Path, root: Path) -> list[Shown]:
    """Return all values of a definition, in the order of its tables."""
    layers, tables = load_tables(file)
    return [
        Shown(key_text(path), value, _source(path, layers, root))
        for path, value in _leaves(tables, ())
    ]


def _leaves(table: Mapping[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _source(path: KeyPath, layers: Layers, root: Path) -> str:
    layer = layers.owner(path)
    if not layer.holds(path):
        return DEFAULT
    file = layer.file.resolve()
    shown = file.relative_to(root) if file.is_relative_to(root) else file
    return f"{shown}:{layer.places.value(path).line}"
