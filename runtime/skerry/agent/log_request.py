"""What a direct method asks of logs: which modules, which lines, in which form. Pure.

Source: azure-iot-edge.md §5.6. `id` is an unanchored expression without regard to case, or `all`;
a module takes the filter of the first item that names it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from skerry.agent.errors import MethodError

_MAX_TAIL = 100_000
_MAX_LEVEL = 7
_MAX_PATTERN = 1000
_SELECTS = ("tail", "since", "until", "loglevel", "regex")


class Encoding(StrEnum):
    """How a log is packed."""

    NONE = "none"
    GZIP = "gzip"


class Content(StrEnum):
    """What a log consists of: lines as written, or one JSON array of records."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Form:
    """Encoding and content of a log."""

    encoding: Encoding = Encoding.NONE
    content: Content = Content.TEXT

    @property
    def extension(self) -> str:
        """Return the last part of a blob's name."""
        plain = "json" if self.content is Content.JSON else "log"
        return f"{plain}.gz" if self.encoding is Encoding.GZIP else plain


@dataclass(frozen=True)
class Selection:
    """Which lines of a module: `query` is edged's part, the rest is for each line."""

    query: Mapping[str, str]
    level: int | None = None
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True)
class LogRequest:
    """A request for logs."""

    items: tuple[tuple[re.Pattern[str], Selection], ...]
    form: Form

    def chosen(self, names: Iterable[str]) -> Iterator[tuple[str, Selection]]:
        """Yield the modules that are named, each with its selection."""
        for name in names:
            for pattern, selection in self.items:
                if pattern.search(name):
                    yield name, selection
                    break


def parse_log_request(request: Mapping[str, object], default_tail: str) -> LogRequest:
    """Read a request; raises MethodError."""
    items = request.get("items")
    listed = items if isinstance(items, list) else [items]
    form = Form(
        _choice(request, "encoding", Encoding, Encoding.NONE),
        _choice(request, "contentType", Content, Content.TEXT),
    )
    return LogRequest(tuple(_item(item, default_tail) for item in listed), form)


def check_schema(request: Mapping[str, object]) -> None:
    """Refuse a request that is not of version 1; raises MethodError."""
    version = request.get("schemaVersion")
    if not isinstance(version, str) or not re.fullmatch(r"1\.\d+(\.\d+)?", version):
        raise MethodError(f"schemaVersion is {version!r}, expected '1.0'")


_Choice = TypeVar("_Choice", Encoding, Content)


def _choice(
    request: Mapping[str, object], name: str, kind: type[_Choice], default: _Choice
) -> _Choice:
    value = request.get(name)
    if value is None:
        return default
    try:
        return kind(str(value).lower())
    except ValueError as error:
        known = " or ".join(repr(one.value) for one in kind)
        raise MethodError(f"{name} is {value!r}, expected {known}") from error


def _item(item: object, default_tail: str) -> tuple[re.Pattern[str], Selection]:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        raise MethodError('items holds what has no "id", expected the name of a module or "all"')
    name = _expression("id", ".*" if item["id"] == "all" else item["id"])
    given = item.get("filter")
    return name, _selection(given if isinstance(given, dict) else {}, default_tail)


def _selection(given: Mapping[str, object], default_tail: str) -> Selection:
    given = {name: value for name, value in given.items() if value is not None}
    unknown = sorted(set(given) - set(_SELECTS))
    if unknown:
        known = ", ".join(_SELECTS)
        raise MethodError(f"filter {unknown[0]!r} is not known; expected one of {known}")
    query = {name: str(given[name]) for name in ("since", "until") if given.get(name)}
    tail = given.get("tail")
    if tail is not None:
        query["tail"] = str(_whole("tail", tail, 1, _MAX_TAIL))
    elif not query:
        query["tail"] = default_tail
    level = given.get("loglevel")
    text = given.get("regex")
    return Selection(
        query,
        None if level is None else _whole("loglevel", level, 0, _MAX_LEVEL),
        None if text is None else _expression("regex", text),
    )


def _whole(name: str, value: object, least: int, most: int) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not least <= int(str(value)) <= most:
        raise MethodError(f"{name} is {value!r}, expected {least} to {most}")
    return int(str(value))


def _expression(name: str, text: object) -> re.Pattern[str]:
    if not isinstance(text, str) or len(text) > _MAX_PATTERN:
        raise MethodError(f"{name} is no expression of at most {_MAX_PATTERN} characters")
    try:
        return re.compile(text, re.IGNORECASE if name == "id" else 0)
    except re.error as error:
        raise MethodError(f"{name} {text!r} is not a regular expression: {error}") from error
