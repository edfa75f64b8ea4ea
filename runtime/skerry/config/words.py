"""What a schema asks for and what a value lacks, in words for people."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from skerry.config.problems import Finding, KeyPath

Schema = Mapping[str, Any]
_SHOWN_CHARACTERS = 60
_LISTED_KEYS = 12
TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "string": ("a string", (str,)),
    "integer": ("an integer", (int,)),
    "number": ("a number", (int, float)),
    "boolean": ("true or false", (bool,)),
    "array": ("an array", (list,)),
    "object": ("a table", (dict,)),
}


def wrong_choice(value: Any, schema: Schema, path: KeyPath) -> list[Finding]:
    choices = [schema["const"]] if "const" in schema else list(schema["enum"])
    same = any(value == choice and type(value) is type(choice) for choice in choices)
    return [] if same else [not_one_of(value, choices, path)]


def wrong_scalar(value: Any, schema: Schema, path: KeyPath) -> list[Finding]:
    complaint = _complaint(value, schema)
    if complaint is None:
        return []
    shown = "the value" if schema.get("x-secret") else show(value)
    return [Finding(path, f"{shown} {complaint}", expectation(schema))]


def _complaint(value: Any, schema: Schema) -> str | None:
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            return "is empty"
        if len(value) > schema.get("maxLength", len(value)):
            return f"is too long ({len(value)} characters)"
        if "pattern" in schema and not fits(schema["pattern"], value):
            return "does not fit"
        return None
    if value < schema.get("minimum", value):
        return "is too small"
    return "is too large" if value > schema.get("maximum", value) else None


def fits(pattern: str, value: str) -> bool:
    # in a JSON Schema `$` is the very end; in Python it is also the place before a last line end
    return re.search(pattern.removesuffix("$") + r"\Z", value) is not None


def expectation(schema: Schema) -> str | None:
    if "x-expected" in schema:
        return str(schema["x-expected"])
    if "const" in schema or "enum" in schema:
        return one_of([schema["const"]] if "const" in schema else schema["enum"])
    words = type_words([schema])
    if "minLength" in schema:
        words = "a string that is not empty"
    if "minimum" in schema:
        words = f"an integer of at least {schema['minimum']}"
        if schema["maximum"] < 2**32 - 1:
            words = f"an integer from {schema['minimum']} to {schema['maximum']}"
    return f"{words} ({schema['x-unit']})" if "x-unit" in schema else words


def type_words(schemas: Sequence[Schema]) -> str | None:
    words: list[str] = []
    for schema in schemas:
        names = schema.get("type", "string" if "const" in schema or "enum" in schema else [])
        for name in [names] if isinstance(names, str) else names:
            if TYPES[name][0] not in words:
                words.append(TYPES[name][0])
    return " or ".join(words) or None


def unknown_key(path: KeyPath, item: object, known: Mapping[str, Schema]) -> Finding:
    kind = "table" if isinstance(item, dict) else "key"
    near = nearest(str(path[-1]), known)
    expected = None if near or not known else f"one of {', '.join(sorted(known))}"
    if len(known) > _LISTED_KEYS:
        expected = None
    return Finding(path, f"unknown {kind}", expected, near, on_key=True)


def missing_key(path: KeyPath, expected: str | None) -> Finding:
    return Finding(path, "missing", expected, on_key=True)


def not_one_of(value: object, choices: Sequence[object], path: KeyPath) -> Finding:
    several = len(set(map(str, choices))) > 1
    near = nearest(value, [str(c) for c in choices]) if isinstance(value, str) and several else None
    return Finding(path, f"{show(value)} is not a choice", one_of(choices), near)


def one_of(choices: Sequence[object]) -> str:
    return " or ".join(dict.fromkeys(show(choice) for choice in choices))


def nearest(name: str, known: Mapping[str, object] | Sequence[str]) -> str | None:
    """Return the known name that a mistyped one most likely meant."""
    folded = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.7)
    return folded[near[0]] if near else None


def show(value: object) -> str:
    """Write a value for a message: as TOML would, and not longer than a line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_CHARACTERS else value[: _SHOWN_CHARACTERS - 1] + "…"
        return repr(cut)
    return str(value)
