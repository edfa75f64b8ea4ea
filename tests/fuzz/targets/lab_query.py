"""Queries and target conditions: whatever is read can be asked of any twin."""

from skerry_lab.query.errors import QueryError
from skerry_lab.query.query import documents_of, parse_query, parse_target

ALLOWED = (QueryError,)
SEEDS = (
    b"SELECT deviceId, tags.a AS b FROM devices WHERE tags.a IN ['x', 1] AND NOT is_null(tags.b)",
    b"select top 3 tags.s, count() as n, avg(properties.reported.t) from devices group by tags.s",
    b"SELECT * FROM devices.modules WHERE configurations.[[my-id]].status = 'Applied'",
    b"select * from devices where tags['a b'].c[0] >= 0x1f + 1.5e3 * -2 or contains(tags.s, 'x')",
    b'from devices.modules where moduleId = "m\\u0041" and properties.desired.$version nin [1]',
)
_TWINS = [
    {"deviceId": "a", "tags": {"a": "x", "s": [1, "x"], "b": None}, "status": "enabled"},
    {"deviceId": "b", "tags": {"s": {"t": 1e300}}, "properties": {"reported": {"t": 2**52}}},
]


def one(data: bytes) -> None:
    """Read it as both, and ask both."""
    text = data.decode("utf-8", errors="replace")
    try:
        target = parse_target(text)
    except QueryError:
        target = None
    if target is not None:
        [target.takes(twin) for twin in _TWINS]
    assert len(documents_of(parse_query(text), _TWINS)) <= len(_TWINS)
