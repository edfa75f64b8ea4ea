"""Values of queries: JSON's, and `UNDEFINED` for what is missing or does not fit.

Truth has three values; a twin is found only when its condition is true. Numbers compare with
numbers, texts with texts, by their code points; anything may be compared with null. Objects and
lists compare with nothing.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal


class Special(Enum):
    """What JSON does not have."""

    UNDEFINED = "undefined"


UNDEFINED: Literal[Special.UNDEFINED] = Special.UNDEFINED

_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": math.fmod,
}


def is_number(value: object) -> bool:
    """Tell whether a value is a number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def both(left: object, right: object) -> object:
    """AND."""
    if left is False or right is False:
        return False
    return True if left is True and right is True else UNDEFINED


def either(left: object, right: object) -> object:
    """OR."""
    if left is True or right is True:
        return True
    return False if left is False and right is False else UNDEFINED


def inverse(value: object) -> object:
    """NOT."""
    return not value if isinstance(value, bool) else UNDEFINED


def compare(sign: str, left: object, right: object) -> object:
    """Compare by one of `= != <> < <= > >=`."""
    if sign in ("=", "!=", "<>"):
        equal = _equal(left, right)
        return equal if sign == "=" else inverse(equal)
    alike = (is_number(left) and is_number(right)) or (
        isinstance(left, str) and isinstance(right, str)
    )
    return _ORDER[sign](left, right) if alike else UNDEFINED


def is_among(value: object, choices: object) -> object:
    """IN: whether a value equals one of a list."""
    if not isinstance(choices, list) or value is UNDEFINED:
        return UNDEFINED
    return any(_equal(value, choice) is True for choice in choices)


def calculate(sign: str, left: object, right: object) -> object:
    """Calculate by one of `+ - * / %`; what has no result is undefined."""
    if not (is_number(left) and is_number(right)):
        return UNDEFINED
    try:
        result = _ARITHMETIC[sign](left, right)  # type: ignore[arg-type]
        return result if math.isfinite(result) else UNDEFINED
    except (ArithmeticError, ValueError):
        return UNDEFINED


def find(document: object, steps: Sequence[str | int]) -> object:
    """Return what a path leads to in a document."""
    found = document
    for step in steps:
        if isinstance(found, list):
            fits = isinstance(step, int) and step < len(found)
        else:
            fits = isinstance(found, Mapping) and step in found
        if not fits:
            return UNDEFINED
        found = found[step]  # type: ignore[index]
    return found


def _equal(left: object, right: object) -> object:
    if left is UNDEFINED or right is UNDEFINED:
        return UNDEFINED
    if left is None or right is None:
        return left is right
    for kind in (bool, str):
        if isinstance(left, kind) and isinstance(right, kind):
            return left == right
    return left == right if is_number(left) and is_number(right) else UNDEFINED
