"""Functions of the query language. Names count in whatever case, with or without underscore."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from skerry_lab.query.values import UNDEFINED, is_number


@dataclass(frozen=True)
class Function:
    """A function of a fixed number of arguments."""

    arguments: int
    call: Callable[..., object]


def _on_texts(work: Callable[[str, str], bool]) -> Function:
    def call(left: object, right: object) -> object:
        fits = isinstance(left, str) and isinstance(right, str)
        return work(left, right) if fits else UNDEFINED  # type: ignore[arg-type]

    return Function(2, call)


def _contains(whole: object, part: object) -> object:
    if isinstance(whole, list):
        return part is not UNDEFINED and any(
            part == item and isinstance(part, bool) is isinstance(item, bool) for item in whole
        )
    fits = isinstance(whole, str) and isinstance(part, str)
    return part in whole if fits else UNDEFINED  # type: ignore[operator]


def _of_text(work: Callable[[str], object]) -> Function:
    return Function(1, lambda value: work(value) if isinstance(value, str) else UNDEFINED)


def _is(kind: type) -> Function:
    return Function(1, lambda value: isinstance(value, kind))


def _is_primitive(value: object) -> bool:
    return value is None or isinstance(value, bool | str) or is_number(value)


FUNCTIONS: Mapping[str, Function] = {
    "isdefined": Function(1, lambda value: value is not UNDEFINED),
    "isnull": Function(1, lambda value: value is None),
    "isbool": _is(bool),
    "isnumber": Function(1, is_number),
    "isstring": _is(str),
    "isarray": _is(list),
    "isobject": _is(dict),
    "isprimitive": Function(1, _is_primitive),
    "startswith": _on_texts(str.startswith),
    "endswith": _on_texts(str.endswith),
    "contains": Function(2, _contains),
    "lower": _of_text(str.lower),
    "upper": _of_text(str.upper),
    "length": _of_text(len),
}


def function_named(name: str) -> Function | None:
    """Return a function, `IS_DEFINED` and `isDefined` alike."""
    return FUNCTIONS.get(name.lower().replace("_", ""))
