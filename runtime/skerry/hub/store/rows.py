"""Messages as rows of the database, and back. Pure but for the connection that is passed in."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any
from zlib import crc32

from skerry.hub.store.model import Message, Position

Row = tuple[Any, ...]

SEQUENCE_BITS = 42
ROW_BYTES = 64  # what a row costs beside its texts and body

_SIZES = (256, 64, 16, 4, 1)
_SHORT_RUN = 4
_KEPT_CHARACTERS = 512
_Pairs = tuple[tuple[str, str], ...]

_encode = json.JSONEncoder(separators=(",", ":")).encode

# Damage may have changed types, and JSON holds no blobs.
_COLUMNS = """
    number, cast(id AS TEXT), cast(expires AS INTEGER), cast(received AS REAL),
    cast(source AS TEXT), cast(content AS INTEGER)
"""
# One row of JSON for many of the table: a step of SQLite gives up the interpreter, and under load a
# thread may wait 5 ms each time to have it back. The outer SELECT keeps the order of the inner one.
_WHOLE = f"""
    SELECT json_group_array(
        json_array({_COLUMNS}, cast(crc AS INTEGER), cast(bag AS TEXT), hex(body))
    ) FROM (
        SELECT * FROM (
            SELECT e.number, e.id, e.expires, e.received, e.source, e.content, e.crc,
                ifnull(c.bag, e.bag) AS bag, ifnull(c.body, e.body) AS body,
                sum(length(ifnull(c.body, e.body))) OVER (ORDER BY e.number) AS bytes
            FROM entry e LEFT JOIN content c ON c.number = e.content
            WHERE e.number > ?1 AND e.number <= ?2 ORDER BY e.number LIMIT ?3
        ) WHERE bytes - length(body) < ?4 ORDER BY number
    )
"""  # noqa: S608 - constants
_SIZED = f"""
    SELECT json_group_array(json_array({_COLUMNS}, size)) FROM (
        SELECT e.number, e.id, e.expires, e.received, e.source, e.content,
            length(cast(ifnull(c.bag, e.bag) AS BLOB)) + length(ifnull(c.body, e.body)) AS size
        FROM entry e LEFT JOIN content c ON c.number = e.content
        WHERE {{where}} LIMIT ?3
    )
"""  # noqa: S608 - constants
_SIZED_RANGE = _SIZED.format(where="e.number > ?1 AND e.number <= ?2 ORDER BY e.number")
_SIZED_EXPIRED = _SIZED.format(where="e.expires > ?1 AND e.expires <= ?2 ORDER BY e.expires")


@dataclass(slots=True)
class Waiting:
    """An entry of a queue. `size` is what it counts for; `content` names what it shares.

    Read from disk, `message` is None when it is not what was stored.
    """

    position: int
    id: str
    expires: int | None  # age in milliseconds
    size: int
    content: int | None
    content_size: int
    message: Message | None


def first_of(queue: int) -> int:
    """Return the lowest position of a queue."""
    return queue << SEQUENCE_BITS


def queue_of(position: int) -> int:
    """Return the queue of a position."""
    return position >> SEQUENCE_BITS


def as_position(number: int) -> Position:
    """Return a number as what callers hold."""
    return Position(number)


def dump_bag(message: Message) -> str:
    """Return the properties of a message as text."""
    if not message.system and not message.properties:
        return ""
    pairs = tuple(message.system.items()), tuple(message.properties.items())
    if sum(map(len, message.properties.values())) > _KEPT_CHARACTERS:
        return _dump.__wrapped__(*pairs)
    return _dump(*pairs)


@lru_cache(maxsize=256)
def _dump(system: _Pairs, properties: _Pairs) -> str:
    """Encode once what a sender says with every message."""
    return _encode((dict(system), dict(properties)))


def read_whole(
    connection: sqlite3.Connection, above: int, up_to: int, limit: int, max_bytes: int
) -> list[Waiting]:
    """Return entries with their messages, in order; at least one if there is any."""
    text = connection.execute(_WHOLE, (above, up_to, limit, max_bytes)).fetchone()[0]
    return [_whole(row) for row in json.loads(text)]


def read_sized(connection: sqlite3.Connection, above: int, up_to: int, limit: int) -> list[Waiting]:
    """Return entries without their messages, in order."""
    text = connection.execute(_SIZED_RANGE, (above, up_to, limit)).fetchone()[0]
    return [_sized(row) for row in json.loads(text)]


def read_expired(connection: sqlite3.Connection, age_ms: int, limit: int) -> list[Waiting]:
    """Return entries that have expired at an age, without their messages."""
    text = connection.execute(_SIZED_EXPIRED, (-1, age_ms, limit)).fetchone()[0]
    return [_sized(row) for row in json.loads(text)]


def _whole(row: Row) -> Waiting:
    number, message_id, expires, received, source, content, crc, bag, hexed = row
    body, bag = bytes.fromhex(hexed), str(bag)
    message = None
    if checksum(str(message_id), str(source), bag, body) == crc:
        system, properties = json.loads(bag) if bag else ({}, {})
        message = Message(message_id, source, system, properties, body, received)
    return _sized((number, message_id, expires, 0, source, content, len(bag) + len(body)), message)


def _sized(row: Row, message: Message | None = None) -> Waiting:
    number, found_id, expires, _, source, content, size = row
    message_id = str(found_id)  # SQLite keeps any type anywhere, so damage may have changed it
    own = row_size(message_id, str(source))
    expires = expires if isinstance(expires, int) else None
    return Waiting(number, message_id, expires, own + size, content, size, message)


def checksum(message_id: str, source: str, bag: str, body: bytes) -> int:
    """Return what tells whether a message is still what it was."""
    return crc32(body, crc32(f"{message_id}\n{source}\n{bag}".encode(errors="replace")))


def row_size(message_id: str, source: str) -> int:
    """Return what an entry counts for without its content."""
    return ROW_BYTES + len(message_id) + len(source)


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    """Insert rows with few statements: each one gives up the interpreter once, not once a row."""
    done = 0
    while done < len(rows):
        count = next(size for size in _SIZES if size <= len(rows) - done)
        part = rows[done : done + count]
        one = f"({','.join('?' * len(part[0]))})"
        connection.execute(
            f"INSERT INTO {table} VALUES {','.join([one] * count)}",  # noqa: S608 - our own names
            list(chain.from_iterable(part)),
        )
        done += count


def delete(connection: sqlite3.Connection, table: str, numbers: Sequence[int]) -> None:
    """Delete rows by their numbers, neighbours together."""
    single: list[int] = []
    for first, last in runs(numbers):
        if last - first < _SHORT_RUN:
            single.extend(range(first, last + 1))
        else:
            connection.execute(
                f"DELETE FROM {table} WHERE number BETWEEN ? AND ?",  # noqa: S608
                (first, last),
            )
    done = 0
    while done < len(single):
        count = next(size for size in _SIZES if size <= len(single) - done)
        places = ",".join("?" * count)
        connection.execute(
            f"DELETE FROM {table} WHERE number IN ({places})",  # noqa: S608
            single[done : done + count],
        )
        done += count


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield numbers as ranges, first and last included: 1 2 3 7 is (1, 3) (7, 7)."""
    ordered = sorted(numbers)
    begin = 0
    for index in range(1, len(ordered) + 1):
        if index == len(ordered) or ordered[index] != ordered[index - 1] + 1:
            yield ordered[begin], ordered[index - 1]
            begin = index
