"""Cuts a route into tokens, the longest that fits at each place, as upstream's lexer does.

So `a-b`, `a.b` and `a*` are names, `5-3` too, and an operator needs spaces around it. `/*` begins a
comment only if `*/` follows somewhere. Source: azure-iot-edge.md §6.2.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from skerry.hub.errors import Problem, RouteError


class Type(StrEnum):
    """What a token is; keywords and operators are their own, lower-case text."""

    STRING = "string"
    NUMBER = "number"
    WORD = "word"
    SYMBOL = "symbol"
    DOLLAR = "dollar"
    NAME = "name"
    PATH = "path"
    END = "end"


@dataclass(frozen=True)
class Token:
    """A piece of the route from `start` to `end`."""

    type: Type
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def is_word(self, word: str) -> bool:
        """Tell whether it is a keyword, in whatever case."""
        return self.type is Type.WORD and self.text.lower() == word


_NAME = r"""[^()<>@,;:\\"/\[\]?={} \t\r\n]+"""
_PATH = r"""[^()<>@,;:\\"/?={} \t\r\n]+"""
_STRING = r"""(?:[^{0}\\]|\\(?:["'\\]|u[0-9a-fA-F]{{4}}))*"""
_EXPONENT = r"[Ee][+-]?[0-9]+"
# In the order of upstream's grammar: of two that are equally long the first one counts.
_RULES: Sequence[tuple[Type, re.Pattern[str]]] = tuple(
    (kind, re.compile(pattern, re.DOTALL))
    for kind, pattern in (
        (Type.WORD, r"(?i:select|from|where|into|and|or|not)"),
        (Type.WORD, r"true|false|null|undefined"),
        (Type.STRING, '"' + _STRING.format('"') + '"'),
        (Type.STRING, "'" + _STRING.format("'") + "'"),
        (Type.NUMBER, r"-?[0-9]+"),
        (Type.NUMBER, r"0[Xx][0-9a-fA-F]+"),
        (Type.NUMBER, rf"-?[0-9]*\.[0-9]+(?:{_EXPONENT})?"),
        (Type.NUMBER, rf"-?[0-9]+{_EXPONENT}"),
        (Type.SYMBOL, r"!=|<>|<=|>=|\|\||\?\?|[()\{\},+\-*/%=<>]"),
        (Type.DOLLAR, r"\$" + _PATH),
        (Type.NAME, _NAME),
        (Type.PATH, _PATH),
    )
)
_BLANK = re.compile(r"(?:[ \t\r\n]|/\*.*?\*/)*", re.DOTALL)


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a route, the last one is its end. Raises: RouteError."""
    tokens = []
    position = _BLANK.match(text).end()  # type: ignore[union-attr]
    while position < len(text):
        token = _longest(text, position)
        if token is None:
            raise RouteError(text, [_unreadable(text, position)])
        tokens.append(token)
        position = _BLANK.match(text, token.end).end()  # type: ignore[union-attr]
    tokens.append(Token(Type.END, "", len(text)))
    return tokens


def _longest(text: str, position: int) -> Token | None:
    best = None
    for kind, pattern in _RULES:
        found = pattern.match(text, position)
        if found is not None and (best is None or found.end() > best.end):
            best = Token(kind, found.group(), position)
    if best is not None and best.type is Type.NAME and best.text[0] == "'":
        return None  # a text that does not end
    return best


def _unreadable(text: str, position: int) -> Problem:
    if text[position] in "\"'":
        return Problem("a text does not end, expected a closing quote", position, len(text))
    return Problem(f"{text[position]!r} is not expected here", position, position + 1)
