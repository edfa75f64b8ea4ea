"""Twin documents: how patches change them. Pure; lab, edge hub and agent share it.

A patch is a JSON object: an object in it is merged into the object of that name, null removes a
name, anything else (lists too) takes the place of what was there.
"""

from collections.abc import Mapping

from skerry.base.errors import SkerryError

MAX_BYTES = 32 * 1024
MAX_TAGS_BYTES = 8 * 1024
MAX_DEPTH = 10
_MAX_VALUE_BYTES = 4096
_MAX_NAME_BYTES = 1024
_MAX_INTEGER = 2**52
_FORBIDDEN = frozenset(".$#")


def merge(document: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    """Return a document after a patch; neither is changed."""
    merged = dict(document)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            former = merged.get(name)
            merged[name] = merge(former if isinstance(former, Mapping) else {}, value)
        else:
            merged[name] = value
    return merged


def diff(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, object]:
    """Return the patch that makes `new` of `old`, empty when they are equal.

    `new` holds no null: a twin has none.
    """
    patch: dict[str, object] = {name: None for name in old if name not in new}
    for name, value in new.items():
        former = old.get(name)
        if isinstance(value, Mapping) and isinstance(former, Mapping):
            if inner := diff(former, value):
                patch[name] = inner
        elif name not in old or not _same(former, value):
            patch[name] = value
    return patch


def _same(one: object, other: object) -> bool:
    # True == 1 in Python, and 1 == 1.0 in JSON too.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


class TwinError(SkerryError):
    """Properties that a twin cannot hold."""


def check(properties: object, what: str) -> dict[str, object]:
    """Return properties that a twin may be given, nulls in a patch included.

    Source of the limits: azure-iot-edge.md §6.8. Raises: TwinError that names the property.
    """
    if not isinstance(properties, dict):
        raise TwinError(f"{what} is {_kind(properties)}, expected a JSON object")
    _check_object(properties, what, 1)
    return properties


def size_bytes(properties: Mapping[str, object]) -> int:
    """Return the size of properties as the limits count it: names and values, without marks."""
    total = 0
    for name, value in properties.items():
        total += len(name.encode()) + _value_bytes(value)
    return total


def _value_bytes(value: object) -> int:
    if isinstance(value, Mapping):
        return size_bytes(value)
    if isinstance(value, list):
        return sum(map(_value_bytes, value))
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bool):
        return 4
    return 0 if value is None else 8


def _check_object(properties: Mapping[str, object], where: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TwinError(f"{where} is nested too deeply, expected at most {MAX_DEPTH} levels")
    for name, value in properties.items():
        _check_name(name, where)
        _check_value(value, f"{where}.{name}", depth)


def _check_name(name: str, where: str) -> None:
    bad = any(c in _FORBIDDEN or c.isspace() or not c.isprintable() for c in name)
    if not name or bad or len(name.encode()) > _MAX_NAME_BYTES:
        raise TwinError(
            f"{where} has the name {name[:80]!r}, expected at most {_MAX_NAME_BYTES} bytes without "
            "'.', '$', '#', blanks and control characters"
        )


def _check_value(value: object, where: str, depth: int) -> None:
    if isinstance(value, dict):
        _check_object(value, where, depth + 1)
    elif isinstance(value, list):
        if depth + 1 > MAX_DEPTH:
            raise TwinError(f"{where} is nested too deeply, expected at most {MAX_DEPTH} levels")
        for item in value:
            if item is None:
                raise TwinError(f"{where} has null in a list, expected a value")
            _check_value(item, where, depth + 1)
    elif isinstance(value, str):
        if len(value.encode(errors="surrogatepass")) > _MAX_VALUE_BYTES:
            raise TwinError(f"{where} is longer than {_MAX_VALUE_BYTES} bytes")
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MAX_INTEGER - 1:
        raise TwinError(f"{where} is {value}, expected an integer within ±{_MAX_INTEGER - 1}")


def _kind(value: object) -> str:
    names = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
