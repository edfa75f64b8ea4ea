"""Compiles conditions: precedence climbing over the tokens, the first mistake ends it.

From loose to tight: OR, AND, NOT, `= != <> < <= > >= IN NIN`, `+ -`, `* / %`, minus. A compiled
expression is a function of a twin, as a mapping from its first names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from skerry_lab.query import values
from skerry_lab.query.errors import QueryError
from skerry_lab.query.functions import FUNCTIONS, function_named
from skerry_lab.query.tokens import Token, Type, number_of, text_of
from skerry_lab.query.values import UNDEFINED

Document = Mapping[str, object]
Expression = Callable[[Document], object]

NAMES = (
    "deviceId", "moduleId", "etag", "deviceEtag", "status", "statusReason", "statusUpdateTime",
    "connectionState", "connectionStateUpdatedTime", "lastActivityTime",
    "cloudToDeviceMessageCount", "authenticationType", "x509Thumbprint", "modelId", "version",
    "tags", "properties", "configurations", "capabilities", "deviceScope", "parentScopes",
)  # fmt: skip
"""With what a path may begin; these count in whatever case, as in IoT Hub."""

RESERVED = ("select", "from", "where", "and", "or", "not", "in", "nin", "as", "group", "by", "top")
_CONSTANTS: Mapping[str, object] = {"true": True, "false": False, "null": None}
_ROOTS = {name.lower(): name for name in NAMES}
_COMPARISONS = ("=", "!=", "<>", "<", "<=", ">", ">=")
# Both keep compiling and evaluating far from Python's limit of recursion.
_MAX_DEPTH, _MAX_OPERATORS = 30, 200
_MAX_DIGITS = 9


@dataclass(frozen=True)
class Path:
    """A way into a twin."""

    steps: tuple[str | int, ...]

    def __call__(self, document: Document) -> object:
        return values.find(document, self.steps)

    @property
    def name(self) -> str | None:
        """What a column of it is called; a place in a list has no name."""
        last = self.steps[-1]
        return last if isinstance(last, str) else None


class Parser:
    """Reads from tokens; `token` is the next one."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._position = self._depth = self._operators = 0
        self.paths: list[tuple[Path, int]] = []
        """What has been read of twins so far, and where it stands."""

    @property
    def token(self) -> Token:
        """The next token."""
        return self._tokens[self._position]

    def take(self) -> Token:
        """Return the next token and go on."""
        token = self.token
        self._position += token.type is not Type.END
        return token

    def take_word(self, *words: str) -> bool:
        """Take one of these keywords if it comes now."""
        return self.token.is_word(*words) and bool(self.take())

    def take_symbol(self, *symbols: str) -> bool:
        """Take one of these symbols if it comes now."""
        return self.token.is_symbol(*symbols) and bool(self.take())

    def need_symbol(self, symbol: str) -> None:
        """Take a symbol that has to come now. Raises: QueryError."""
        if not self.take_symbol(symbol):
            raise self.fail(repr(symbol))

    def fail(self, expected: str, token: Token | None = None) -> QueryError:
        """Return the error for a token that does not belong here."""
        token = token or self.token
        found = "the query ends" if token.type is Type.END else f"{token.text[:80]!r} is unexpected"
        return QueryError(f"{found}, expected {expected}", token.start)

    def need_end(self, expected: str) -> None:
        """Check that nothing follows. Raises: QueryError."""
        if self.token.type is not Type.END:
            raise self.fail(expected)

    def condition(self) -> Expression:
        """Read an expression. Raises: QueryError."""
        left = self._conjunction()
        while self._operator("or"):
            left = _either(left, self._conjunction())
        return left

    def path(self) -> Path:
        """Read a path such as `tags.a['b'][0].[[c d]]`. Raises: QueryError."""
        first = self.take()
        if first.type is not Type.NAME or first.text.lower() in RESERVED:
            raise self.fail("a property", first)
        root = _ROOTS.get(first.text.lower())
        if root is None:
            raise QueryError(
                f"property {first.text[:80]!r} is not known, expected tags.NAME, "
                f"properties.desired.NAME, properties.reported.NAME or one of {', '.join(NAMES)}",
                first.start,
            )
        steps: list[str | int] = [root]
        while (step := self._step()) is not None:
            steps.append(step)
        path = Path(tuple(steps))
        self.paths.append((path, first.start))
        return path

    def _step(self) -> str | int | None:
        if self.token.type is Type.QUOTED_NAME:
            return self.take().text
        if self.take_symbol("."):
            if self.token.type is not Type.NAME:
                raise self.fail("a name")
            return self.take().text
        if not self.take_symbol("["):
            return None
        token = self.take()
        if token.type is Type.STRING:
            step: str | int = text_of(token)
        elif token.text.isdecimal() and len(token.text) <= _MAX_DIGITS:
            step = int(token.text)
        else:
            raise self.fail("a name in quotes or the number of an item", token)
        self.need_symbol("]")
        return step

    def _conjunction(self) -> Expression:
        left = self._negation()
        while self._operator("and"):
            left = _both(left, self._negation())
        return left

    def _negation(self) -> Expression:
        if not self.token.is_word("not"):
            return self._comparison()
        with self._deeper():
            self.take()
            inner = self._negation()
        return lambda document: values.inverse(inner(document))

    def _comparison(self) -> Expression:
        left = self._sum()
        token = self.token
        if token.is_symbol(*_COMPARISONS):
            self._count(token)
            return _compare(self.take().text, left, self._sum())
        if token.is_word("in", "nin"):
            self._count(token)
            negated = self.take().is_word("nin")
            choices = self._list() if self.token.is_symbol("[") else self._sum()
            return _among(left, choices, negated=negated)
        return left

    def _sum(self) -> Expression:
        left = self._product()
        while (token := self.token).is_symbol("+", "-"):
            self._count(token)
            left = _calculate(self.take().text, left, self._product())
        return left

    def _product(self) -> Expression:
        left = self._operand()
        while (token := self.token).is_symbol("*", "/", "%"):
            self._count(token)
            left = _calculate(self.take().text, left, self._operand())
        return left

    def _operand(self) -> Expression:
        token = self.token
        if token.type is Type.STRING:
            return _constant(text_of(self.take()))
        if token.type is Type.NUMBER:
            return _constant(number_of(self.take()))
        if token.is_symbol("-"):
            with self._deeper():
                self.take()
                inner = self._operand()
            return _calculate("-", _constant(0), inner)
        if token.is_symbol("("):
            with self._deeper():
                self.take()
                found = self.condition()
            self.need_symbol(")")
            return found
        if token.is_symbol("["):
            return self._list()
        if token.type is not Type.NAME or token.text.lower() in RESERVED:
            raise self.fail("a property, a value, a function or '('")
        if token.is_word(*_CONSTANTS):
            return _constant(_CONSTANTS[self.take().text.lower()])
        following = self._tokens[self._position + 1]
        return self._call() if following.is_symbol("(") else self.path()

    def _call(self) -> Expression:
        name = self.take()
        function = function_named(name.text)
        if function is None:
            raise QueryError(
                f"function {name.text[:80]!r} is not known, expected one of {', '.join(FUNCTIONS)}",
                name.start,
            )
        arguments = self._arguments(")")
        if len(arguments) != function.arguments:
            raise QueryError(
                f"{name.text!r} has {len(arguments)} arguments, expected {function.arguments}",
                name.start,
            )
        call = function.call
        return lambda document: call(*(argument(document) for argument in arguments))

    def _list(self) -> Expression:
        items = self._arguments("]")

        def run(document: Document) -> object:
            return [item(document) for item in items]

        return run

    def _arguments(self, closing: str) -> list[Expression]:
        with self._deeper():
            self.take()
            found: list[Expression] = []
            while not self.token.is_symbol(closing):
                if found:
                    self.need_symbol(",")
                found.append(self.condition())
            self.take()
        return found

    def _operator(self, word: str) -> bool:
        if not self.token.is_word(word):
            return False
        self._count(self.take())
        return True

    def _count(self, token: Token) -> None:
        self._operators += 1
        if self._operators > _MAX_OPERATORS:
            raise self.fail(f"at most {_MAX_OPERATORS} operators", token)

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self.fail(f"at most {_MAX_DEPTH} levels")
        yield
        self._depth -= 1


def _constant(value: object) -> Expression:
    return lambda _: value


def _both(left: Expression, right: Expression) -> Expression:
    def run(document: Document) -> object:
        found = left(document)
        return False if found is False else values.both(found, right(document))

    return run


def _either(left: Expression, right: Expression) -> Expression:
    def run(document: Document) -> object:
        found = left(document)
        return True if found is True else values.either(found, right(document))

    return run


def _compare(sign: str, left: Expression, right: Expression) -> Expression:
    return lambda document: values.compare(sign, left(document), right(document))


def _calculate(sign: str, left: Expression, right: Expression) -> Expression:
    return lambda document: values.calculate(sign, left(document), right(document))


def _among(left: Expression, right: Expression, *, negated: bool) -> Expression:
    def run(document: Document) -> object:
        found = values.is_among(left(document), right(document))
        return values.inverse(found) if negated and found is not UNDEFINED else found

    return run
