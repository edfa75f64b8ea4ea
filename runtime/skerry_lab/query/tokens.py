"""Tokens of the query language: texts, numbers, names, symbols.

A name in double brackets after a dot, `configurations.[[my-id]]`, may hold any sign but brackets.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from skerry_lab.query.errors import QueryError

MAX_CHARACTERS = 16384

_MOST_DIGITS = 18


class Type(StrEnum):
    """What a token is."""

    STRING = "string"
    NUMBER = "number"
    NAME = "name"
    QUOTED_NAME = "quoted name"
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a query; `text` is as written, a quoted name's without dot and brackets."""

    type: Type
    text: str
    start: int

    def is_word(self, *words: str) -> bool:
        """Tell whether it is one of these keywords, in whatever case."""
        return self.type is Type.NAME and self.text.lower() in words

    def is_symbol(self, *symbols: str) -> bool:
        """Tell whether it is one of these symbols."""
        return self.type is Type.SYMBOL and self.text in symbols


_RULES = re.compile(
    r"""
      (?P<blank>\s+)
    | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<number>0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<quoted>\.\[\[(?P<inner>[^\[\]]+)\]\])
    | (?P<name>[^\W\d][\w$]*|\$[\w$]+)
    | (?P<symbol>!=|<>|<=|>=|[()\[\],.=<>+\-*/%])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def tokenize(text: str) -> Sequence[Token]:
    """Return the tokens of a query, the last one is its end. Raises: QueryError."""
    if len(text) > MAX_CHARACTERS:
        raise QueryError(f"the query is longer than {MAX_CHARACTERS} characters", MAX_CHARACTERS)
    tokens = []
    position = 0
    while position < len(text):
        found = _RULES.match(text, position)
        if found is None:
            raise _unreadable(text, position)
        match found.lastgroup:
            case "string":
                tokens.append(Token(Type.STRING, found.group(), position))
            case "number":
                tokens.append(Token(Type.NUMBER, found.group(), position))
            case "quoted":
                tokens.append(Token(Type.QUOTED_NAME, found["inner"].strip("'\""), position))
            case "name":
                tokens.append(Token(Type.NAME, found.group(), position))
            case "symbol":
                tokens.append(Token(Type.SYMBOL, found.group(), position))
        position = found.end()
    tokens.append(Token(Type.END, "", len(text)))
    return tokens


def text_of(token: Token) -> str:
    """Return what a text says."""

    def plain(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        return _ESCAPED.get(found[2], found[2])

    return _ESCAPE.sub(plain, token.text[1:-1])


def number_of(token: Token) -> int | float:
    """Return what a number is. Raises: QueryError when it is too large."""
    text = token.text
    if text[:2].lower() == "0x":
        if len(text) <= _MOST_DIGITS:
            return int(text[2:], 16)
    elif text.isdecimal() and len(text) <= _MOST_DIGITS:
        return int(text)
    elif math.isfinite(value := float(text)):
        return value
    raise QueryError(f"{text[:40]!r} is too large for a number", token.start)


def _unreadable(text: str, position: int) -> QueryError:
    if text[position] in "\"'":
        return QueryError("a text does not end, expected a closing quote", position)
    return QueryError(f"{text[position]!r} is not expected here", position)
