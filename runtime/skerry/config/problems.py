"""What is wrong with a configuration, where it stands, and how a person can put it right.

A key path is a tuple of table keys and array indexes; its text is what one would write in TOML.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

KeyPath = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Position:
    """A place in a text; line and column count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True)
class Finding:
    """Something wrong at a key path, before it is located.

    `on_key` tells whether the key itself is wrong (unknown, missing, superfluous) or its value.
    """

    path: KeyPath
    message: str
    expected: str | None = None
    suggestion: str | None = None
    on_key: bool = False


@dataclass(frozen=True)
class Problem:
    """A located finding, as `--output json` shows it."""

    file: str
    line: int
    column: int
    key: str
    message: str
    expected: str | None = None
    suggestion: str | None = None

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        text = f"{self.file}:{self.line}:{self.column}: {key}{self.message}"
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.suggestion is not None:
            text += f"; did you mean '{self.suggestion}'?"
        return text

    def to_json(self) -> dict[str, object]:
        """Return the shape that docs/interfaces.md promises."""
        return asdict(self)


def key_text(path: Sequence[str | int]) -> str:
    """Write a key path as TOML would: `modules."a.b".dependsOn[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else f'"{part}"'
            text += f".{name}" if text else name
    return text
