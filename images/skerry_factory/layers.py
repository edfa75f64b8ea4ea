"""A definition and what it extends: read file by file, laid over each other, each value traceable.

`extends = "ID"` at the top of an image.toml takes over another definition. Tables are merged key by
key; every other value, arrays too, replaces the one below. `image.id` is never taken over. The
overlay folders of all files apply, the extended one's first.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.config.locate import Locations, locate
from skerry.config.problems import Finding, KeyPath, Problem
from skerry.config.words import nearest
from skerry_factory.errors import DefinitionError

CONSEQUENCE = "nothing was built"
EXTENDS = "extends"
NEVER_TAKEN_OVER = ("image", "id")


@dataclass(frozen=True)
class Layer:
    """One image.toml as it stands."""

    file: Path
    tables: Mapping[str, Any]
    places: Locations

    def holds(self, path: KeyPath) -> bool:
        """Tell whether a key or value is written in this file."""
        return path in self.places.values or path in self.places.keys


@dataclass(frozen=True)
class Layers:
    """The files of a definition, its own first, and their merged tables without `extends`."""

    files: tuple[Layer, ...]
    tables: Mapping[str, Any]

    def owner(self, path: KeyPath) -> Layer:
        """Return the file that a value comes from: the uppermost that has it or what is above."""
        while path and path != NEVER_TAKEN_OVER:
            for layer in self.files:
                if layer.holds(path):
                    return layer
            path = path[:-1]
        return self.files[0]

    def problem(self, finding: Finding) -> Problem:
        """Return a finding at its place in the file that it is in."""
        return _located(finding, self.owner(finding.path))


def read_layers(file: Path) -> Layers:
    """Read a definition and all that it extends; raises DefinitionError for a way that ends not."""
    layers = [_read(file)]
    while EXTENDS in layers[-1].tables:
        layers.append(_read(_extended(layers)))
    merged: Mapping[str, Any] = {}
    for number, layer in reversed(list(enumerate(layers))):
        own = {key: value for key, value in layer.tables.items() if key != EXTENDS}
        if number and isinstance(own.get("image"), dict):
            own["image"] = {key: value for key, value in own["image"].items() if key != "id"}
        merged = _merged(merged, own)
    return Layers(tuple(layers), merged)


def _read(file: Path) -> Layer:
    try:
        text = file.read_bytes().decode("utf-8")
        tables = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DefinitionError([f"{file}: no TOML: {error}"], CONSEQUENCE) from error
    return Layer(file, tables, locate(text))


def _extended(layers: list[Layer]) -> Path:
    """Return the file that the last layer extends."""
    layer = layers[-1]
    folder = layer.file.parent.parent
    name = layer.tables[EXTENDS]
    known = sorted(path.parent.name for path in folder.glob("*/image.toml"))
    if name not in known:
        near = nearest(name, known) if isinstance(name, str) else None
        expected = f"the id of a definition in {folder}"
        finding = Finding((EXTENDS,), f"{name!r} is no definition", expected, near)
        raise DefinitionError([str(_located(finding, layer))], CONSEQUENCE)
    names = [one.file.parent.name for one in layers]
    if name in names:
        way = " → ".join([*names[names.index(name) :], name])
        finding = Finding((EXTENDS,), f"{way} goes in a circle", "a definition that ends the chain")
        raise DefinitionError([str(_located(finding, layer))], CONSEQUENCE)
    return folder / str(name) / "image.toml"


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def _located(finding: Finding, layer: Layer) -> Problem:
    return layer.places.problem(finding, str(layer.file))
