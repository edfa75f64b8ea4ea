"""Compiles conditions: precedence climbing over the tokens, kinds checked on the way.

From loose to tight: `??`, OR, AND, `= != <>`, `< <= > >=`, `+ - ||`, `* / %`, NOT, minus. Wrong
kinds and numbers of arguments are collected; what cannot be read ends the compilation.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from skerry.hub.errors import Problem, RouteError
from skerry.hub.routes import values
from skerry.hub.routes.body import find, parse_path
from skerry.hub.routes.functions import FUNCTIONS, TWIN_CHANGE_INCLUDES, Function
from skerry.hub.routes.model import Compiled, Message, system_name
from skerry.hub.routes.tokens import Token, Type
from skerry.hub.routes.values import NULL, UNDEFINED, Kind, Value

TWIN_CHANGES = "/twinchangenotifications/"

_REPORTED = ["properties", "reported"]
_BODY = "$body."
# Both keep compiling and evaluating far from Python's limit of recursion.
_MAX_DEPTH, _MAX_OPERATORS = 30, 150
_LEVELS: Sequence[Sequence[str]] = (
    ("??",),
    ("or",),
    ("and",),
    ("=", "!=", "<>"),
    ("<", "<=", ">", ">="),
    ("+", "-", "||"),
    ("*", "/", "%"),
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_CONSTANTS: Mapping[str, tuple[Kind, Value]] = {
    "true": (Kind.BOOL, True),
    "false": (Kind.BOOL, False),
    "null": (Kind.NULL, NULL),
    "undefined": (Kind.UNDEFINED, UNDEFINED),
}
_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "%": math.fmod,
}


class Parser:
    """Reads a condition from tokens; `position` is the next one."""

    def __init__(self, text: str, tokens: Sequence[Token], position: int, source: str) -> None:
        self.position = position
        self.problems: list[Problem] = []
        self._text = text
        self._tokens = tokens
        self._source = source
        self._depth = self._operators = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self._tokens[self.position]

    def take(self) -> Token:
        """Return the next token and go on."""
        token = self.token
        self.position += token.type is not Type.END
        return token

    def fail(self, token: Token, expected: str) -> RouteError:
        """Return the error for a token that does not belong here."""
        found = (
            "the route ends" if token.type is Type.END else f"{token.text!r} is not expected here"
        )
        problem = Problem(f"{found}, expected {expected}", token.start, max(token.end, token.start))
        return RouteError(self._text, [*self.problems, problem])

    def symbol(self, text: str) -> Token:
        """Take a symbol that has to come now."""
        if self.token.type is not Type.SYMBOL or self.token.text != text:
            raise self.fail(self.token, f"{text!r}")
        return self.take()

    def condition(self, level: int = 0) -> Compiled:
        """Read an expression of a level of precedence and all tighter ones."""
        if level == len(_LEVELS):
            return self._unary()
        left = self.condition(level + 1)
        while (operator := self.token).text.lower() in _LEVELS[level] and operator.type in (
            Type.SYMBOL,
            Type.WORD,
        ):
            self.take()
            self._operators += 1
            if self._operators > _MAX_OPERATORS:
                raise self.fail(operator, f"at most {_MAX_OPERATORS} operators")
            left = self._binary(operator, left, self.condition(level + 1))
        return left

    def _unary(self) -> Compiled:
        token = self.token
        if not (token.is_word("not") or (token.type is Type.SYMBOL and token.text == "-")):
            return self._operand()
        self.take()
        with self._deeper(token):
            inner = self._unary()
        if token.text == "-":
            self._check(token, "-", Kind.NUMBER, inner)
            return _compiled(token.start, inner.end, Kind.NUMBER, _negative, inner)
        self._check(token, "NOT", Kind.BOOL, inner, or_null=True)
        return _compiled(token.start, inner.end, Kind.BOOL, values.inverse, inner)

    def _operand(self) -> Compiled:
        token = self.take()
        match token.type:
            case Type.STRING:
                return _constant(token, Kind.STRING, _unescaped(token.text[1:-1]))
            case Type.NUMBER:
                return _constant(token, Kind.NUMBER, _number(token.text))
            case Type.WORD if token.text in _CONSTANTS:
                return _constant(token, *_CONSTANTS[token.text])
            case Type.DOLLAR:
                return self._dollar(token, own_first=True)
            case Type.NAME:
                is_call = self.token.type is Type.SYMBOL and self.token.text == "("
                return self._call(token) if is_call else _property(token)
            case Type.SYMBOL if token.text == "(":
                return self._nested(token)
            case Type.SYMBOL if token.text == "{" and self.token.type is Type.DOLLAR:
                found = self._dollar(self.take(), own_first=False)
                self.symbol("}")
                return found
        raise self.fail(token, "a property, a value, a function or '('")

    def _nested(self, token: Token) -> Compiled:
        with self._deeper(token):
            inner = self.condition()
        self.symbol(")")
        return inner

    def _dollar(self, token: Token, *, own_first: bool) -> Compiled:
        """Compile `$name`: a property of that name, else the body, else a system property."""
        name = token.text
        if name.lower().startswith(_BODY):
            steps = parse_path(name[len(_BODY) :])
            if steps is None:
                what = f"{name!r} is not a path into the body, expected '$body.name[0].name'"
                self.problems.append(Problem(what, token.start, token.end))
                return _constant(token, Kind.UNDEFINED, UNDEFINED)
            run = _body_query(steps, name if own_first and "[" not in name else None)
            return Compiled(token.start, token.end, Kind.ANY, run)
        return Compiled(token.start, token.end, Kind.STRING, _system(name, own_first=own_first))

    def _call(self, name: Token) -> Compiled:
        self.symbol("(")
        if name.text.lower() == TWIN_CHANGE_INCLUDES:
            return self._twin_change(name)
        arguments: list[Compiled] = []
        if not (self.token.type is Type.SYMBOL and self.token.text == ")"):
            with self._deeper(name):
                arguments.append(self.condition())
                while self.token.text == "," and self.token.type is Type.SYMBOL:
                    self.take()
                    arguments.append(self.condition())
        end = self.symbol(")").end
        function = FUNCTIONS.get(name.text.lower())
        if function is None:
            what = f"function {name.text!r} is not known, expected one of {', '.join(FUNCTIONS)}"
            self.problems.append(Problem(what, name.start, name.end))
            return Compiled(name.start, end, Kind.UNDEFINED, lambda _: UNDEFINED)
        self._check_arguments(name, function, arguments)
        return Compiled(
            name.start, end, function.gives, _run_all(function.call, arguments), arguments
        )

    @contextmanager
    def _deeper(self, token: Token) -> Iterator[None]:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self.fail(token, f"at most {_MAX_DEPTH} levels")
        yield
        self._depth -= 1

    def _check_arguments(
        self, name: Token, function: Function, arguments: Sequence[Compiled]
    ) -> None:
        if not function.takes_count(len(arguments)):
            most = "or more" if function.repeats else f"to {len(function.takes)}"
            count = (
                f"{function.fewest} {most}"
                if function.repeats or function.optional
                else str(function.fewest)
            )
            what = f"{name.text!r} has {len(arguments)} arguments, expected {count}"
            self.problems.append(Problem(what, name.start, name.end))
            return
        for index, argument in enumerate(arguments):
            wanted = function.kind_at(index)
            if wanted is not Kind.ANY and not _may_be(argument.kind, wanted):
                found = f"a {argument.kind} as argument {index + 1}"
                what = f"{name.text!r} has {found}, expected a {wanted}"
                self.problems.append(Problem(what, argument.start, argument.end))

    def _twin_change(self, name: Token) -> Compiled:
        first = self.take()
        end = self.symbol(")").end
        steps = parse_path(first.text)
        if not self._source.startswith(TWIN_CHANGES):
            what = f"{name.text!r} is for routes FROM /twinChangeNotifications only"
            self.problems.append(Problem(what, name.start, name.end))
        if steps is None or len(steps) < 2 or not _is_of_twin(steps):
            what = (
                f"{first.text!r} is not a path into a twin, expected 'properties.reported.NAME', "
                "'properties.desired.NAME' or 'tags.NAME'"
            )
            self.problems.append(Problem(what, first.start, first.end))
            steps = ["?"]
        return Compiled(name.start, end, Kind.BOOL, _changed(steps))

    def _binary(self, operator: Token, left: Compiled, right: Compiled) -> Compiled:
        sign = operator.text.lower()
        start, end = left.start, right.end
        if sign in ("and", "or"):
            for side in (left, right):
                self._check(operator, sign.upper(), Kind.BOOL, side, or_null=True)
            run = values.both if sign == "and" else values.either
            return _compiled(start, end, Kind.BOOL, run, left, right)
        if sign == "??":
            kind = right.kind if left.kind is Kind.UNDEFINED else left.kind
            self._check_alike(operator, left, right)
            return _compiled(start, end, kind, _first_defined, left, right)
        if sign == "||":
            for side in (left, right):
                self._check(operator, sign, Kind.STRING, side)
            return _compiled(start, end, Kind.STRING, _concatenated, left, right)
        if sign in _ARITHMETIC:
            for side in (left, right):
                self._check(operator, sign, Kind.NUMBER, side)
            return _compiled(start, end, Kind.NUMBER, _arithmetic(sign), left, right)
        self._check_alike(operator, left, right)
        return _compiled(
            start, end, Kind.BOOL, lambda a, b: values.compare(sign, a, b), left, right
        )

    def _check(
        self, at: Token, sign: str, wanted: Kind, side: Compiled, *, or_null: bool = False
    ) -> None:
        if not (_may_be(side.kind, wanted) or (or_null and side.kind is Kind.NULL)):
            self._wrong(at, sign, side.kind, f"a {wanted}")

    def _check_alike(self, at: Token, left: Compiled, right: Compiled) -> None:
        loose = (Kind.ANY, Kind.UNDEFINED, Kind.NULL)
        if left.kind is not right.kind and left.kind not in loose and right.kind not in loose:
            self._wrong(at, at.text, right.kind, f"a {left.kind} as on its left")

    def _wrong(self, at: Token, sign: str, found: Kind, wanted: str) -> None:
        hint = "; as_number(…) makes a number of a text" if Kind.STRING in (found, wanted) else ""
        what = f"{sign!r} has a {found}, expected {wanted}{hint}"
        self.problems.append(Problem(what, at.start, at.end))


def _may_be(kind: Kind, wanted: Kind) -> bool:
    return kind in (wanted, Kind.ANY, Kind.UNDEFINED)


def _constant(token: Token, kind: Kind, value: Value) -> Compiled:
    return Compiled(token.start, token.end, kind, lambda _: value)


def _compiled(
    start: int, end: int, kind: Kind, run: Callable[..., Value], *parts: Compiled
) -> Compiled:
    def evaluate(message: Message) -> Value:
        return run(*(part.run(message) for part in parts))

    return Compiled(start, end, kind, evaluate, parts)


def _run_all(
    run: Callable[[Sequence[Value]], Value], parts: Sequence[Compiled]
) -> Callable[[Message], Value]:
    return lambda message: run([part.run(message) for part in parts])


def _property(token: Token) -> Compiled:
    name = token.text
    return Compiled(
        token.start,
        token.end,
        Kind.STRING,
        lambda message: message.properties.get(name, UNDEFINED),
    )


def _system(name: str, *, own_first: bool) -> Callable[[Message], Value]:
    long = system_name(name[1:])

    def run(message: Message) -> Value:
        if own_first and name in message.properties:
            return message.properties[name]
        return message.system.get(long, UNDEFINED)

    return run


def _body_query(steps: list[str | int], own: str | None) -> Callable[[Message], Value]:
    def run(message: Message) -> Value:
        if own is not None and own in message.properties:
            return message.properties[own]
        document = message.document
        return UNDEFINED if document is None else find(document, steps)

    return run


def _changed(steps: list[str | int]) -> Callable[[Message], Value]:
    def run(message: Message) -> Value:
        document: object = message.document
        if steps[:2] != _REPORTED:
            return False  # no other part of a twin is changed by a client
        for step in steps[2:]:
            if not isinstance(document, dict) or step not in document:
                return False
            document = document[step]
        return True

    return run


def _is_of_twin(steps: Sequence[str | int]) -> bool:
    if steps[0] == "tags":
        return True
    return steps[0] == "properties" and steps[1] in ("reported", "desired") and len(steps) > 2


def _negative(value: Value) -> Value:
    return -value if isinstance(value, float) else UNDEFINED


def _first_defined(left: Value, right: Value) -> Value:
    return right if left is UNDEFINED else left


def _concatenated(left: Value, right: Value) -> Value:
    return left + right if isinstance(left, str) and isinstance(right, str) else UNDEFINED


def _arithmetic(sign: str) -> Callable[[Value, Value], Value]:
    work = _ARITHMETIC[sign]

    def run(left: Value, right: Value) -> Value:
        if not isinstance(left, float) or not isinstance(right, float):
            return UNDEFINED
        try:
            return values.number(work(left, right))
        except (ZeroDivisionError, ValueError, OverflowError):
            return UNDEFINED

    return run


def _number(text: str) -> float:
    return float(int(text, 16)) if text[:2].lower() == "0x" else float(text)


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        code = found.group(1)
        return chr(int(code, 16)) if code else str(found.group(2))

    return _ESCAPE.sub(one, text)
