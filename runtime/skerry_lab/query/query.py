"""Queries and target conditions, read into what can be asked of twins.

    SELECT [TOP n] * | column, … FROM devices | devices.modules [WHERE condition] [GROUP BY path, …]

A column is a path or `count()`, `avg(path)`, `sum`, `min`, `max`, each with `AS name` if wanted.
A target condition is what follows WHERE, or `*`, or `FROM devices.modules WHERE …` whole. It
may not ask for what targeting itself changes, nor for what changes by itself: a twin is looked at
when its tags, reported properties or device change.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from skerry_lab.query.condition import Document, Expression, Parser, Path
from skerry_lab.query.errors import QueryError
from skerry_lab.query.tokens import Type, tokenize
from skerry_lab.query.values import UNDEFINED

MAX_COLUMNS = 64
MAX_GROUPS = 10_000

_AGGREGATES = ("count", "avg", "sum", "min", "max")
_MAX_TOP_DIGITS = 9
_TARGETS = (
    "deviceId", "moduleId", "tags", "properties.reported", "status", "statusReason",
    "statusUpdateTime", "authenticationType", "x509Thumbprint", "modelId", "capabilities",
    "deviceScope", "parentScopes",
)  # fmt: skip


class Source(StrEnum):
    """Whose twins are asked."""

    DEVICES = "devices"
    MODULES = "devices.modules"


@dataclass(frozen=True)
class Column:
    """A column of a result; without a path it counts."""

    name: str
    path: Path | None
    aggregate: str | None = None


@dataclass(frozen=True)
class Query:
    """A query; no columns are the whole twin, no condition takes every twin.

    `paths` are what the condition of a target reads.
    """

    source: Source
    columns: Sequence[Column] = ()
    condition: Expression | None = None
    group_by: Sequence[Path] = ()
    top: int | None = None
    paths: Sequence[Path] = ()

    @property
    def is_aggregate(self) -> bool:
        """Whether a row of the result stands for many twins."""
        return bool(self.group_by) or any(column.aggregate for column in self.columns)

    def takes(self, document: Document) -> bool:
        """Tell whether a twin is one of those that are asked for."""
        return self.condition is None or self.condition(document) is True

    def row(self, document: Document) -> dict[str, object]:
        """Return what is wanted of a twin; what it does not have is left out."""
        if not self.columns:
            return dict(document)
        found = ((column.name, column.path) for column in self.columns)
        pairs = ((name, path(document)) for name, path in found if path is not None)
        return {name: value for name, value in pairs if value is not UNDEFINED}


class Groups:
    """Adds twins up; `rows` are the result."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._groups: dict[str, tuple[dict[str, object], list[list[float]]]] = {}
        if not query.group_by:
            self._start(_group_name([]), {})

    def add(self, document: Document) -> None:
        """Count one more twin. Raises: QueryError when there are too many groups."""
        query = self._query
        keys = [path(document) for path in query.group_by]
        name = _group_name(keys)
        if name not in self._groups:
            if len(self._groups) >= MAX_GROUPS:
                raise QueryError(f"the result has more than {MAX_GROUPS} groups", 0)
            self._start(name, query.row(document))
        _, numbers = self._groups[name]
        for column, seen in zip(query.columns, numbers, strict=True):
            if column.aggregate is None:
                continue
            value = 1 if column.path is None else column.path(document)
            if isinstance(value, int | float) and not isinstance(value, bool):
                _accumulate(seen, float(value))

    def rows(self) -> list[dict[str, object]]:
        """Return one row a group, in the order of the groups."""
        return [self._row(*group) for _, group in sorted(self._groups.items())]

    def _start(self, name: str, first: dict[str, object]) -> None:
        self._groups[name] = (first, [[] for _ in self._query.columns])

    def _row(self, first: dict[str, object], numbers: list[list[float]]) -> dict[str, object]:
        row: dict[str, object] = {}
        for column, seen in zip(self._query.columns, numbers, strict=True):
            if column.aggregate is None:
                if column.name in first:
                    row[column.name] = first[column.name]
            elif (value := _result(column.aggregate, seen)) is not None:
                row[column.name] = value
        return row


def parse_query(text: str) -> Query:
    """Read a query. Raises: QueryError."""
    parser = Parser(tokenize(text))
    if not parser.take_word("select"):
        raise parser.fail("SELECT")
    top = _top(parser) if parser.take_word("top") else None
    columns = () if parser.take_symbol("*") else _columns(parser)
    source = _source(parser)
    condition = parser.condition() if parser.take_word("where") else None
    group_by = _group_by(parser) if parser.token.is_word("group") else ()
    parser.need_end("WHERE, GROUP BY or nothing more")
    query = Query(source, columns, condition, group_by, top)
    if query.is_aggregate:
        _check_groups(query, len(text))
    return query


def parse_target(text: str) -> Query | None:
    """Read a target condition; None targets nothing. Raises: QueryError."""
    if not text.strip():
        return None
    parser = Parser(tokenize(text))
    if parser.take_symbol("*"):
        parser.need_end("nothing more")
        return Query(Source.DEVICES)
    source = _source(parser) if parser.token.is_word("from") else Source.DEVICES
    if parser.token.type is Type.END:
        return Query(source)
    if source is Source.MODULES and not parser.take_word("where"):
        raise parser.fail("WHERE")
    parser.take_word("where")
    condition = parser.condition()
    parser.need_end("nothing more")
    for path, start in parser.paths:
        _check_target(path, start)
    return Query(source, (), condition, paths=[path for path, _ in parser.paths])


def _check_target(path: Path, start: int) -> None:
    name = ".".join(map(str, path.steps[:2])) if path.steps[0] == "properties" else path.steps[0]
    if name not in _TARGETS:
        raise QueryError(
            f"a target condition cannot ask for {name!r}, expected one of {', '.join(_TARGETS)}",
            start,
        )


def _top(parser: Parser) -> int:
    token = parser.take()
    if not token.text.isdecimal() or len(token.text) > _MAX_TOP_DIGITS:
        raise parser.fail("a number", token)
    return int(token.text)


def _source(parser: Parser) -> Source:
    if not parser.take_word("from"):
        raise parser.fail("FROM")
    token = parser.take()
    if not token.is_word(Source.DEVICES):
        raise parser.fail("devices or devices.modules", token)
    if not parser.take_symbol("."):
        return Source.DEVICES
    if not parser.take_word("modules"):
        raise parser.fail("modules")
    return Source.MODULES


def _columns(parser: Parser) -> Sequence[Column]:
    columns = [_column(parser, 1)]
    while parser.take_symbol(","):
        if len(columns) == MAX_COLUMNS:
            raise parser.fail(f"at most {MAX_COLUMNS} columns")
        columns.append(_column(parser, len(columns) + 1))
    names = [column.name for column in columns]
    # Two columns of one name: the later one is told apart by its place.
    return [
        Column(f"${at + 1}", column.path, column.aggregate) if column.name in names[:at] else column
        for at, column in enumerate(columns)
    ]


def _column(parser: Parser, place: int) -> Column:
    aggregate = parser.token.text.lower() if parser.token.is_word(*_AGGREGATES) else None
    path = None
    if aggregate is None:
        path = parser.path()
    else:
        parser.take()
        parser.need_symbol("(")
        if aggregate != "count":
            path = parser.path()
        parser.need_symbol(")")
    name = path.name if path is not None and aggregate is None else None
    if parser.take_word("as"):
        token = parser.take()
        if token.type is not Type.NAME:
            raise parser.fail("a name", token)
        name = token.text
    return Column(name or f"${place}", path, aggregate)


def _group_by(parser: Parser) -> Sequence[Path]:
    parser.take()
    if not parser.take_word("by"):
        raise parser.fail("BY")
    paths = [parser.path()]
    while parser.take_symbol(","):
        paths.append(parser.path())
    return paths


def _check_groups(query: Query, end: int) -> None:
    if not query.columns:
        raise QueryError("SELECT * cannot be grouped, expected columns", 0)
    for column in query.columns:
        if column.aggregate is None and column.path not in query.group_by:
            raise QueryError(
                f"column {column.name!r} is in no GROUP BY, expected GROUP BY with it", end
            )


def _group_name(keys: Sequence[object]) -> str:
    plain = [None if key is UNDEFINED else key for key in keys]
    return json.dumps([plain, [key is UNDEFINED for key in keys]], sort_keys=True)


def _accumulate(seen: list[float], value: float) -> None:
    """`seen` is count, sum, least, greatest; empty before the first."""
    if seen:
        seen[:] = [seen[0] + 1, seen[1] + value, min(seen[2], value), max(seen[3], value)]
    else:
        seen[:] = [1.0, value, value, value]


def _result(aggregate: str, seen: Sequence[float]) -> float | None:
    if not seen:
        return 0 if aggregate in ("count", "sum") else None
    count, total, least, greatest = seen
    found = {"count": count, "sum": total, "min": least, "max": greatest, "avg": total / count}
    value = found[aggregate]
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value


def documents_of(query: Query, documents: Iterable[Document]) -> list[dict[str, object]]:
    """Return the result of a query over these twins."""
    taken = (document for document in documents if query.takes(document))
    if not query.is_aggregate:
        return [query.row(document) for document in taken][: query.top]
    groups = Groups(query)
    for document in taken:
        groups.add(document)
    return groups.rows()[: query.top]
