"""The functions of conditions: what they take, what they give. Names in any case."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from skerry.hub.routes.values import UNDEFINED, Kind, Value, kind_of, number

Run = Callable[..., Value]


@dataclass(frozen=True)
class Function:
    """`run` gets values of the kinds in `takes`; of anything else the function is undefined.

    `optional` arguments at the end may be left out; with `repeats` the last one may stand again.
    """

    takes: Sequence[Kind]
    gives: Kind
    run: Run
    optional: int = 0
    repeats: bool = False

    @property
    def fewest(self) -> int:
        """How many arguments it takes at least."""
        return len(self.takes) - self.optional

    def takes_count(self, count: int) -> bool:
        """Tell whether it takes so many arguments."""
        return count >= self.fewest and (self.repeats or count <= len(self.takes))

    def kind_at(self, index: int) -> Kind:
        """Return the kind of an argument."""
        return self.takes[min(index, len(self.takes) - 1)]

    def call(self, values: Sequence[Value]) -> Value:
        """Run it; undefined for values of other kinds, or without a result."""
        for index, value in enumerate(values):
            if self.kind_at(index) not in (Kind.ANY, kind_of(value)):
                return UNDEFINED
        try:
            result = self.run(*values)
        except (ValueError, OverflowError, ZeroDivisionError):
            return UNDEFINED
        return number(result) if isinstance(result, float) else result


def _math(run: Callable[..., float], count: int = 1) -> Function:
    return Function([Kind.NUMBER] * count, Kind.NUMBER, lambda *values: float(run(*values)))


def _is(kind: Kind) -> Function:
    return Function([Kind.ANY], Kind.BOOL, lambda value: kind_of(value) is kind)


def _text(run: Run, gives: Kind, count: int) -> Function:
    return Function([Kind.STRING] * count, gives, run)


def _sign(value: float) -> float:
    return float((value > 0) - (value < 0))


def _as_number(value: Value) -> Value:
    if isinstance(value, float):
        return value
    if not isinstance(value, str) or "_" in value:
        return UNDEFINED
    return float(value.strip().replace(",", ""))


def _substring(text: str, start: float, length: float | None = None) -> Value:
    first = int(start)
    last = len(text) if length is None else first + int(length)
    return text[first:last] if 0 <= first <= last <= len(text) else UNDEFINED


FUNCTIONS: Mapping[str, Function] = {
    "abs": _math(abs),
    "exp": _math(math.exp),
    "power": _math(math.pow, 2),
    "square": _math(lambda value: value * value),
    "ceiling": _math(math.ceil),
    "floor": _math(math.floor),
    "sign": _math(_sign),
    "sqrt": _math(math.sqrt),
    "as_number": Function([Kind.ANY], Kind.NUMBER, _as_number),
    "is_bool": _is(Kind.BOOL),
    "is_null": _is(Kind.NULL),
    "is_number": _is(Kind.NUMBER),
    "is_string": _is(Kind.STRING),
    "is_defined": Function([Kind.ANY], Kind.BOOL, lambda value: value is not UNDEFINED),
    "concat": Function([Kind.STRING] * 2, Kind.STRING, lambda *texts: "".join(texts), repeats=True),
    "length": _text(lambda text: float(len(text)), Kind.NUMBER, 1),
    "lower": _text(str.lower, Kind.STRING, 1),
    "upper": _text(str.upper, Kind.STRING, 1),
    "substring": Function(
        [Kind.STRING, Kind.NUMBER, Kind.NUMBER], Kind.STRING, _substring, optional=1
    ),
    "index_of": _text(lambda text, part: float(text.find(part)), Kind.NUMBER, 2),
    "starts_with": _text(str.startswith, Kind.BOOL, 2),
    "ends_with": _text(str.endswith, Kind.BOOL, 2),
    "contains": _text(lambda text, part: part in text, Kind.BOOL, 2),
}

TWIN_CHANGE_INCLUDES = "twin_change_includes"
