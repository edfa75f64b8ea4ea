"""Values of conditions: truth values, numbers, texts, null, undefined, and their kinds.

All numbers are floating point. What is missing or does not fit is `UNDEFINED`, and so is what is
made of it; a route takes a message only when its condition is true.
"""

from enum import Enum, StrEnum


class Kind(StrEnum):
    """What is known of an expression before any message has come; a body query may be anything."""

    BOOL = "bool"
    NUMBER = "number"
    STRING = "string"
    NULL = "null"
    UNDEFINED = "undefined"
    ANY = "any"


class Special(Enum):
    """Values that JSON has not, or has differently."""

    NULL = "null"
    UNDEFINED = "undefined"
    OBJECT = "object"
    """An object or a list in the body: defined, and equal to nothing."""


NULL, UNDEFINED, OBJECT = Special.NULL, Special.UNDEFINED, Special.OBJECT

Value = bool | float | str | Special


def kind_of(value: Value) -> Kind | None:
    """Return the kind of a value; None for an object."""
    if isinstance(value, bool):
        return Kind.BOOL
    if isinstance(value, float):
        return Kind.NUMBER
    if isinstance(value, str):
        return Kind.STRING
    return {NULL: Kind.NULL, UNDEFINED: Kind.UNDEFINED}.get(value)


def number(value: float) -> Value:
    """Return a number; what is not one (0/0, the root of -1) is undefined."""
    return UNDEFINED if value != value else value


def from_json(found: object) -> Value:
    """Return the value of a piece of JSON."""
    if found is None:
        return NULL
    if isinstance(found, bool | str):
        return found
    if isinstance(found, int | float):
        try:
            return number(float(found))
        except OverflowError:
            return UNDEFINED
    return OBJECT


def both(left: Value, right: Value) -> Value:
    """AND: a null makes null, a false false, an undefined undefined."""
    if NULL in (left, right):
        return NULL
    if left is False or right is False:
        return False
    return True if left is True and right is True else UNDEFINED


def either(left: Value, right: Value) -> Value:
    """OR: a true makes true."""
    if left is True or right is True:
        return True
    if left is NULL and right is NULL:
        return NULL
    return False if left is False and right is False else UNDEFINED


def inverse(value: Value) -> Value:
    """NOT; of what is no truth value undefined, null stays."""
    if isinstance(value, bool):
        return not value
    return NULL if value is NULL else UNDEFINED


def compare(operator: str, left: Value, right: Value) -> Value:
    """Compare two values of one kind; texts by their code points. Else undefined."""
    kind = kind_of(left)
    if kind is not kind_of(right) or kind in (None, Kind.UNDEFINED):
        return UNDEFINED
    if operator in ("=", "!=", "<>"):
        return (left == right) is (operator == "=")
    if isinstance(left, float) and isinstance(right, float):
        return _ordered(operator, left < right, left == right)
    if isinstance(left, str) and isinstance(right, str):
        return _ordered(operator, left < right, left == right)
    return UNDEFINED


def _ordered(operator: str, smaller: bool, equal: bool) -> bool:
    if operator in ("<", ">="):
        return smaller is (operator == "<")
    return (smaller or equal) is (operator == "<=")
