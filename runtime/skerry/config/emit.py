"""Writes tables as TOML: `tomllib.loads(dump(x)) == x` for every x that tomllib can return."""

import datetime
import math
import re
from collections.abc import Mapping, Sequence

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}


def dump(table: Mapping[str, object]) -> str:
    """Write a document: plain values first, then sub-tables under headers."""
    lines: list[str] = []
    _table(table, (), lines)
    return "".join(f"{line}\n" for line in lines).lstrip("\n")


def _table(table: Mapping[str, object], path: tuple[str, ...], lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if not _has_headers(value)}
    lines += [f"{key_name(key)} = {dump_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        below = (*path, key)
        if isinstance(value, Mapping):
            # the header of a table that only holds tables says nothing
            if not value or not all(map(_has_headers, value.values())):
                lines += ["", f"[{_header(below)}]"]
            _table(value, below, lines)
        elif key not in plain and isinstance(value, Sequence):
            for item in value:
                lines += ["", f"[[{_header(below)}]]"]
                _table(item, below, lines)


def _has_headers(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    tables = isinstance(value, list | tuple) and bool(value)
    return tables and all(isinstance(item, Mapping) for item in value)  # type: ignore[attr-defined]


def _header(path: tuple[str, ...]) -> str:
    return ".".join(map(key_name, path))


def key_name(key: str) -> str:
    """Write a key, quoted where TOML needs it."""
    return key if _BARE.fullmatch(key) else _string(key)


def dump_value(value: object) -> str:
    """Write one value in a line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key_name(key)} = {dump_value(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(dump_value, value))}]"
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, int):
        return str(value)
    raise TypeError(f"{value!r} has no form in TOML")


def _string(text: str) -> str:
    return '"' + "".join(map(_character, text)) + '"'


def _character(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return char if char >= " " and char != "\x7f" else f"\\u{ord(char):04x}"


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
