"""Queries into the body of a message: `a.b[0]['c']`, compiled once.

The body counts only if the message calls itself `application/json` in UTF-8, UTF-16 or UTF-32, and
only if it is an object. What is not there is null.
"""

import json
import re
from collections.abc import Mapping

from skerry.hub.routes.values import NULL, Value, from_json

_STEP = re.compile(r"(?:^|\.)([^.\[\]'*]+)|\[(\d+)\]|\['([^']*)'\]")
_ENCODINGS = {"utf-8": "utf-8-sig", "utf-16": "utf-16", "utf-32": "utf-32"}


def parse_path(text: str) -> list[str | int] | None:
    """Return the steps of a path, None for what is not one."""
    steps: list[str | int] = []
    position = 0
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None:
            return None
        name, index, quoted = found.groups()
        if index is not None and len(index) > 9:
            return None
        steps.append(int(index) if index is not None else name if name is not None else quoted)
        position = found.end()
    return steps or None


def find(document: object, steps: list[str | int]) -> Value:
    """Return what a path leads to in a document."""
    found: object = document
    for step in steps:
        if isinstance(found, dict):
            if step not in found:
                return NULL
            found = found[step]
        elif isinstance(found, list) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            return NULL
    return from_json(found)


def read_body(body: bytes, content_type: str, encoding: str) -> Mapping[str, object] | None:
    """Return the JSON object of a message, None when it has none that may be asked."""
    codec = _ENCODINGS.get(encoding.strip().lower())
    if codec is None or content_type.strip().lower() != "application/json":
        return None
    try:
        found = json.loads(body.decode(codec))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
