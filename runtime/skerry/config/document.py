"""A configuration text, read and checked: every problem it has, each at its place.

Nothing here looks at the machine: `check` on a workstation and `apply` on the device say the same.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from skerry.config import rules, support
from skerry.config.locate import Locations, locate
from skerry.config.problems import Finding, KeyPath, Position, Problem
from skerry.config.references import resolve
from skerry.config.validate import load_schema, validate

_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")


@dataclass(frozen=True)
class Document:
    """What a text says and what is wrong with it.

    `tables` has sealed references replaced by their values where these were given; `secrets` are
    the paths of the values that must not be shown. `tables` is empty when the text is no TOML.
    """

    file: str
    text: str
    tables: dict[str, object]
    locations: Locations
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    secrets: tuple[KeyPath, ...]

    def locate(self, finding: Finding) -> Problem:
        """Give a finding its place in this text."""
        return self.locations.problem(finding, self.file)


def read(data: bytes, file: str, sealed: Mapping[str, str] | None = None) -> Document:
    """Read a configuration; `sealed` holds the secrets that its references may name."""
    try:
        return _read(data, file, sealed)
    except RecursionError:
        text = data.decode("utf-8", "replace")
        return _unreadable(text, file, Position(1, 1), "nested too deeply", "TOML")


def _read(data: bytes, file: str, sealed: Mapping[str, str] | None) -> Document:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _unreadable(data.decode("utf-8", "replace"), file, *_not_utf8(data, error))
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _unreadable(text, file, *_not_toml(text, error))
    tables, unresolved = resolve(tables, sealed)
    report = validate(tables, load_schema())
    findings = unresolved + report.findings
    for finding in rules.check(tables) + support.refused(tables):
        if not any(_covers(known.path, finding.path) for known in findings):
            findings.append(finding)
    places = locate(text)
    return Document(
        file=file,
        text=text,
        tables=tables,
        locations=places,
        problems=_sorted(places.problem(finding, file) for finding in findings),
        warnings=_sorted(places.problem(finding, file) for finding in report.warnings),
        secrets=tuple(report.secrets),
    )


def _covers(known: KeyPath, path: KeyPath) -> bool:
    """Tell whether something at or above a path is already known to be wrong."""
    return path[: len(known)] == known


def _sorted(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda p: (p.line, p.column, p.key)))


def _unreadable(text: str, file: str, place: Position, message: str, expected: str) -> Document:
    problem = Problem(file, place.line, place.column, "", message, expected)
    return Document(file, text, {}, Locations(text), (problem,), (), ())


def _not_utf8(data: bytes, error: UnicodeDecodeError) -> tuple[Position, str, str]:
    before = data[: error.start].decode("utf-8")
    place = Locations(before).position(len(before))
    return place, f"byte 0x{data[error.start]:02x} is not UTF-8", "a text in UTF-8"


def _not_toml(text: str, error: tomllib.TOMLDecodeError) -> tuple[Position, str, str]:
    # Python 3.11 to 3.13 give the place only inside the message
    found = _PLACE.search(str(error))
    message = str(error).partition(" (at ")[0]
    message = message[:1].lower() + message[1:]
    if found is None:
        return Locations(text).position(len(text)), f"{message} at the end", "TOML"
    return Position(int(found[1]), int(found[2])), message, "TOML"
