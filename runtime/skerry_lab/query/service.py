"""Runs queries over the twins of a lab, a page of the result at a time.

Twins are looked at in chunks, each a piece of work of its own on the database's thread, so that
devices are answered while a long query runs. A page ends with a token that says how to go on; it
holds all that is needed, nothing is kept for it.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from skerry.wire.identity import Identity
from skerry_lab.query.condition import Document
from skerry_lab.query.query import Groups, Query, Source, parse_query
from skerry_lab.registry.errors import bad_argument

CHUNK_TWINS = 100

_START = Identity("", "")
_DIGEST_BYTES = 9

Chunk = list[tuple[Identity, dict[str, object]]]


class Twins(Protocol):
    """The twins of a lab, in the order of their identities; a short chunk is the last one."""

    async def chunk(self, source: Source, after: Identity, limit: int) -> Chunk: ...


@dataclass(frozen=True)
class Page:
    """Rows of a result, whole twins or not, and the token of the next page if there is one."""

    rows: Sequence[Document]
    token: str | None
    is_whole: bool = False


@dataclass(frozen=True)
class _Place:
    """Where a page begins: behind a twin, or for groups behind so many; `given` counts rows."""

    after: Identity = _START
    given: int = 0


async def run(twins: Twins, text: str, token: str | None, limit: int) -> Page:
    """Return a page of at most `limit` rows. Raises: QueryError, HubError 400 for the token."""
    query = parse_query(text)
    place = _Place() if token is None else _read(token, text)
    if query.is_aggregate:
        return await _groups(twins, query, text, place, limit)
    left = limit if query.top is None else min(limit, query.top - place.given)
    rows: list[Document] = []
    is_whole = not query.columns
    last = after = place.after
    while True:
        chunk = await twins.chunk(query.source, after, CHUNK_TWINS)
        for identity, document in chunk:
            if query.takes(document):
                if len(rows) >= left:
                    is_cut = query.top is not None and place.given + left >= query.top
                    following = _Place(last, place.given + len(rows))
                    return Page(rows, None if is_cut else _token(following, text), is_whole)
                rows.append(query.row(document))
                last = identity
        if len(chunk) < CHUNK_TWINS:
            return Page(rows, None, is_whole)
        after = chunk[-1][0]


async def count(twins: Twins, queries: Sequence[Query]) -> list[int]:
    """Return how many twins each query takes; all are asked in one go through the twins."""
    counts = [0] * len(queries)
    for source in Source:
        asked = [(at, query) for at, query in enumerate(queries) if query.source is source]
        after, is_last = _START, not asked
        while not is_last:
            chunk = await twins.chunk(source, after, CHUNK_TWINS)
            for at, query in asked:
                counts[at] += sum(query.takes(document) for _, document in chunk)
            is_last = len(chunk) < CHUNK_TWINS
            after = after if is_last else chunk[-1][0]
    return counts


async def _groups(twins: Twins, query: Query, text: str, place: _Place, limit: int) -> Page:
    groups = Groups(query)
    after = _START
    while True:
        chunk = await twins.chunk(query.source, after, CHUNK_TWINS)
        for _, document in chunk:
            if query.takes(document):
                groups.add(document)
        if len(chunk) < CHUNK_TWINS:
            break
        after = chunk[-1][0]
    rows = groups.rows()[: query.top]
    end = place.given + limit
    token = _token(_Place(given=end), text) if end < len(rows) else None
    return Page(rows[place.given : end], token)


def _token(place: _Place, text: str) -> str:
    after = [place.after.device_id, place.after.module_id]
    content = json.dumps([_digest(text), *after, place.given])
    return base64.urlsafe_b64encode(content.encode()).decode()


def _read(token: str, text: str) -> _Place:
    try:
        match json.loads(base64.urlsafe_b64decode(token)):
            case [str(digest), str(device_id), str() | None as module_id, int(given)] if (
                digest == _digest(text) and given >= 0
            ):
                return _Place(Identity(device_id, module_id), given)
    except (ValueError, binascii.Error, RecursionError):
        pass
    raise bad_argument("x-ms-continuation is not a token of this query, expected the last answer's")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[: 2 * _DIGEST_BYTES]
