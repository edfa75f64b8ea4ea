"""A route: parsed and compiled once, asked for every message."""

from dataclasses import dataclass

from skerry.hub.errors import Problem, RouteError
from skerry.hub.routes.condition import Parser
from skerry.hub.routes.model import Compiled, Message
from skerry.hub.routes.tokens import Token, Type, tokenize
from skerry.hub.routes.values import Special, Value

_ENDPOINT = "brokeredendpoint"
_MOST_CHARACTERS = 8192


@dataclass(frozen=True)
class Sink:
    """Where a route leads: upstream, or with both names an input of a module."""

    module: str | None = None
    input: str | None = None

    def __str__(self) -> str:
        return "$upstream" if self.module is None else f"/modules/{self.module}/inputs/{self.input}"


@dataclass(frozen=True)
class Route:
    """`source` is the beginning that sources of messages must have, in lower case."""

    text: str
    source: str
    sink: Sink
    condition: Compiled | None

    def matches(self, message: Message) -> bool:
        """Tell whether a message takes this route."""
        if not message.place.startswith(self.source):
            return False
        return self.condition is None or self.condition.run(message) is True

    def explain(self, message: Message) -> dict[str, object]:
        """Say whether a message takes this route, and why, for people and as JSON."""
        from_here = message.place.startswith(self.source)
        why: dict[str, object] = {
            "matches": self.matches(message),
            "source": {"expected": self.source, "found": message.place, "matches": from_here},
            "sink": str(self.sink),
        }
        if self.condition is not None:
            why["condition"] = self._explained(self.condition, message)
        return why

    def _explained(self, part: Compiled, message: Message) -> dict[str, object]:
        told: dict[str, object] = {
            "text": self.text[part.start : part.end],
            "value": _shown(part.run(message)),
        }
        if part.parts:
            told["parts"] = [self._explained(inner, message) for inner in part.parts]
        return told


def parse_route(text: str) -> Route:
    """Parse and compile a route. Raises: RouteError with all that is wrong, and where."""
    if len(text) > _MOST_CHARACTERS:
        what = f"the route has {len(text)} characters, expected at most {_MOST_CHARACTERS}"
        raise RouteError(text, [Problem(what, _MOST_CHARACTERS, len(text))])
    tokens = tokenize(text)
    parser = Parser(text, tokens, 0, "")
    if parser.token.is_word("select"):
        parser.take()
        parser.symbol("*")
    _keyword(parser, "from")
    source = _source(parser)
    condition = None
    if parser.token.is_word("where"):
        parser.take()
        parser = Parser(text, tokens, parser.position, source)
        condition = parser.condition()
    _keyword(parser, "into")
    sink = _sink(parser)
    if parser.token.type is not Type.END:
        raise parser.fail(parser.token, "the end")
    if parser.problems:
        raise RouteError(text, parser.problems)
    return Route(text, source, sink, condition)


def _keyword(parser: Parser, word: str) -> None:
    if not parser.token.is_word(word):
        raise parser.fail(parser.token, word.upper())
    parser.take()


def _source(parser: Parser) -> str:
    """Return the beginning of sources that is meant: in lower case, with a slash at its end."""
    path = ""
    if not _is_slash(parser.token):
        raise parser.fail(parser.token, "a source such as '/messages/*'")
    while _is_slash(parser.token):
        parser.take()
        token = parser.token
        is_item = token.type not in (Type.END, Type.STRING, Type.PATH) and (
            token.type is not Type.SYMBOL or token.text == "*"
        )
        if not is_item or token.is_word("where") or token.is_word("into"):
            path += "/"
            break
        path += "/" + parser.take().text
    return path.rstrip("*").rstrip("/").lower() + "/"


def _is_slash(token: Token) -> bool:
    return token.type is Type.SYMBOL and token.text == "/"


def _sink(parser: Parser) -> Sink:
    token = parser.take()
    if token.type is Type.DOLLAR:
        if token.text.lower() != "$upstream":
            raise parser.fail(token, "'$upstream'")
        return Sink()
    if token.type is not Type.NAME or token.text.lower() != _ENDPOINT:
        raise parser.fail(token, "'$upstream' or 'BrokeredEndpoint(\"/modules/NAME/inputs/NAME\")'")
    parser.symbol("(")
    path = parser.take()
    names = path.text[1:-1].strip("/").split("/") if path.type is Type.STRING else []
    if len(names) != 4 or not all(names):
        raise parser.fail(path, "'\"/modules/NAME/inputs/NAME\"'")
    parser.symbol(")")
    return Sink(names[1], names[3])


def _shown(value: Value) -> object:
    if isinstance(value, Special):
        return {"null": None}.get(value.value, value.value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
