"""The query language: what a condition says of a twin, what a query makes of many."""

import contextlib
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry_lab.query import values
from skerry_lab.query.errors import QueryError
from skerry_lab.query.query import documents_of, parse_query, parse_target
from skerry_lab.query.values import UNDEFINED

WHERE = "SELECT * FROM devices WHERE "
TWIN: dict[str, object] = {
    "deviceId": "d1",
    "status": "enabled",
    "statusReason": None,
    "capabilities": {"iotEdge": True},
    "tags": {"site": "Bern", "floor": 3, "a b": {"c": 1}, "list": ["x", 2, True], "on": True},
    "properties": {
        "desired": {"$version": 4, "t": 20.5},
        "reported": {"lastDesiredVersion": 4, "code": 200, "o": {"p": "q"}},
    },
    "configurations": {"my-id": {"status": "Applied"}},
}


@pytest.mark.parametrize(
    "text",
    [
        "tags.site = 'Bern'",
        'tags.site = "Bern" AND tags.floor > 2',
        "TAGS.site != 'Basel' and not tags.floor < 3",
        "tags.floor IN [1, 2, 3]",
        "tags.floor NIN ['3', 4]",
        "tags.floor <> 4",
        "tags['a b'].c = 0x1",
        "tags.[[a b]].c <= 1",
        "tags.list[0] = 'x' AND contains(tags.list, 2)",
        "contains(tags.site, 'er') AND startswith(tags.site, 'Be') AND ends_with(tags.site, 'rn')",
        "is_defined(tags.site) AND NOT is_defined(tags.other)",
        "IS_NULL(statusReason) AND statusReason = null AND tags.site != null",
        "is_bool(tags.on) AND is_number(tags.floor) AND is_string(tags.site)",
        "is_array(tags.list) AND is_object(properties.reported.o) AND is_primitive(tags.floor)",
        "tags.on",
        "tags.on = true AND capabilities.iotEdge = TRUE",
        "configurations.[[my-id]].status = 'Applied'",
        "properties.desired.$version = properties.reported.lastDesiredVersion",
        "properties.desired.t = 2.05e1 AND properties.desired.t > -1",
        "tags.floor + 1 * 2 - 4 / 2 = 3 AND tags.floor % 2 = 1 AND (1 + 2) * 3 = 9",
        "deviceid = 'd1' OR tags.none = 1",
        "NOT (tags.site = 'Basel' OR tags.floor = 4)",
        r"tags.site = 'B\u0065rn' AND tags.site != 'it\'s'",
        "lower(tags.site) = 'bern' AND upper(tags.site) = 'BERN' AND length(tags.site) = 4",
    ],
)
def test_what_is_true_of_a_twin(text: str) -> None:
    """Every operator, function and kind of path and literal."""
    assert documents_of(parse_query(WHERE + text), [TWIN]) == [TWIN]
    assert documents_of(parse_query(f"{WHERE} NOT ({text})"), [TWIN]) == []


@pytest.mark.parametrize(
    "text",
    [
        "tags.other = 1",
        "tags.other != 1",
        "tags.site > 3",
        "tags.site = 3",
        "tags.list = ['x', 2, true]",
        "tags.floor / 0 = 1",
        "tags.floor % 0 = 1",
        "tags.site + 1 = 1",
        "startswith(tags.floor, '3')",
        "tags.other IN [1]",
        "tags.floor IN 3",
        "tags.list[7] = 1",
        "tags.site.x.y = 1",
        "tags.site",
        "properties.reported.o = 'q'",
        "1e308 * 10 > 1",
    ],
)
def test_what_is_neither_true_nor_false(text: str) -> None:
    """What is missing or of another kind finds nothing, and its opposite finds nothing either."""
    for condition in (text, f"NOT ({text})"):
        assert documents_of(parse_query(WHERE + condition), [TWIN]) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "column 1: the query ends, expected SELECT"),
        ("select", "column 7: the query ends, expected a property"),
        ("select * from", "expected devices or devices.modules"),
        ("select * from device", "column 15: 'device' is unexpected, expected devices"),
        ("select * from devices.jobs", "column 23: 'jobs' is unexpected, expected modules"),
        ("select * from devices where", "column 28: the query ends, expected a property, a value"),
        ("select * from devices where tag.x = 1", "column 29: property 'tag' is not known"),
        ("select * from devices where tags.x = 'a", "column 38: a text does not end"),
        ("select * from devices where tags.x = ;", "column 38: ';' is not expected here"),
        ("select * from devices where (tags.x = 1", "column 40: the query ends, expected ')'"),
        ("select * from devices where f(1)", "column 29: function 'f' is not known"),
        ("select * from devices where is_null()", "has 0 arguments, expected 1"),
        ("select * from devices where tags. = 1", "column 35: '=' is unexpected, expected a name"),
        ("select * from devices where tags[-1] = 1", "expected a name in quotes or the number"),
        ("select * from devices where tags.x = 1 tags.y", "column 40: 'tags' is unexpected"),
        ("select * from devices order by tags.x", "column 23: 'order' is unexpected"),
        ("select * from devices where tags.x = 1e999", "is too large for a number"),
        ("select * from devices where tags.x = 0x" + "f" * 40, "is too large for a number"),
        ("select *, tags.x from devices", "column 9: ',' is unexpected, expected FROM"),
        ("select tags.x, count() from devices", "column 'x' is in no GROUP BY"),
        ("select * from devices group by tags.x", "SELECT * cannot be grouped"),
        ("select top x * from devices", "column 12: 'x' is unexpected, expected a number"),
        ("select count(tags.x) from devices", "column 14: 'tags' is unexpected, expected ')'"),
        ("select tags.x as 'y' from devices", "expected a name"),
        ("select * from devices where " + "(" * 31 + "1", "expected at most 30 levels"),
        ("select * from devices where " + "not " * 31 + "1", "expected at most 30 levels"),
        ("select * from devices where " + "- " * 31 + "1", "expected at most 30 levels"),
        ("select * from devices where " + "[" * 31 + "1", "expected at most 30 levels"),
        ("select * from devices where 1" + " + 1" * 201, "expected at most 200 operators"),
        ("select tags.x" + ", tags.x" * 64 + " from devices", "expected at most 64 columns"),
        (" " * 16385, "longer than 16384 characters"),
    ],
)
def test_what_is_no_query(text: str, why: str) -> None:
    """The error says where and what was expected."""
    with pytest.raises(QueryError, match=re.escape(why)):
        parse_query(text)


def test_columns_of_a_result() -> None:
    """Named by their last name, by AS, or by their place; what a twin has not is left out."""
    text = "SELECT deviceId, tags.site AS place, tags.list[1], tags.none, tags.floor AS place"
    assert documents_of(parse_query(f"{text} FROM devices"), [TWIN]) == [
        {"deviceId": "d1", "place": "Bern", "$3": 2, "$5": 3}
    ]


def test_groups_and_sums() -> None:
    """Twins without the property are a group of their own; sums take numbers only."""
    twins: list[dict[str, object]] = [
        {"tags": {"site": "a"}, "properties": {"reported": {"t": 1}}},
        {"tags": {"site": "a"}, "properties": {"reported": {"t": 2.5}}},
        {"tags": {"site": None}, "properties": {"reported": {"t": "x"}}},
        {"tags": {}, "properties": {"reported": {}}},
    ]
    sums = "count() AS n, avg(properties.reported.t), sum(properties.reported.t) AS total, "
    sums += "min(properties.reported.t) AS least, max(properties.reported.t) AS most"
    grouped = parse_query(" ".join(("SELECT tags.site,", sums, "FROM devices GROUP BY tags.site")))
    assert documents_of(grouped, twins) == [
        {"site": "a", "n": 2, "$3": 1.75, "total": 3.5, "least": 1, "most": 2.5},
        {"site": None, "n": 1, "total": 0},
        {"n": 1, "total": 0},
    ]
    counted = parse_query("SELECT COUNT() AS total FROM devices WHERE is_defined(tags.site)")
    assert documents_of(counted, twins) == [{"total": 3}]
    assert documents_of(counted, []) == [{"total": 0}]
    assert documents_of(grouped, []) == []
    assert (
        documents_of(parse_query("SELECT TOP 2 tags FROM devices"), twins)
        == [{"tags": {"site": "a"}}] * 2
    )


def test_target_conditions() -> None:
    """What follows WHERE, a star, or modules from FROM on; an empty one targets nothing."""
    assert parse_target("  ") is None
    for text in ("*", "tags.site = 'Bern'", "from devices where tags.floor = 3", "from devices"):
        target = parse_target(text)
        assert target is not None
        assert (target.takes(TWIN), target.source) == (True, "devices")
    modules = parse_target("FROM devices.modules WHERE moduleId = 'm'")
    assert modules is not None
    assert (modules.takes({"moduleId": "m"}), modules.source) == (True, "devices.modules")
    for text in ("* and", "tags.x = 1 group by tags.x", "from devices.modules moduleId = 'x'"):
        with pytest.raises(QueryError):
            parse_target(text)


LEAVES = st.one_of(
    st.sampled_from([("tags.n", 3), ("tags.s", "ab"), ("tags.b", True), ("tags.none", UNDEFINED)]),
    st.integers(-9, 9).map(lambda n: (str(n), n)),
    st.text(max_size=3).map(lambda s: (f"'{_quoted(s)}'", s)),
    st.sampled_from([("true", True), ("false", False), ("null", None)]),
)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _joined(
    children: st.SearchStrategy[tuple[str, object]],
) -> st.SearchStrategy[tuple[str, object]]:
    def two(sign: str, left: tuple[str, object], right: tuple[str, object]) -> tuple[str, object]:
        made = {
            "AND": values.both,
            "OR": values.either,
        }.get(sign) or (
            (lambda a, b: values.compare(sign, a, b))
            if sign in ("=", "!=", "<", ">=")
            else (lambda a, b: values.calculate(sign, a, b))
        )
        return f"({left[0]} {sign} {right[0]})", made(left[1], right[1])

    signs = st.sampled_from(["AND", "OR", "=", "!=", "<", ">=", "+", "-", "*", "/"])
    return st.one_of(
        st.builds(two, signs, children, children),
        children.map(lambda one: (f"(NOT {one[0]})", values.inverse(one[1]))),
    )


@given(st.recursive(LEAVES, _joined, max_leaves=12))
def test_an_expression_is_what_its_parts_make(pair: tuple[str, object]) -> None:
    """Whatever is put together and read again has the value of its parts."""
    text, expected = pair
    twin = {"tags": {"n": 3, "s": "ab", "b": True}}
    query = parse_query(WHERE + text)
    assert query.condition is not None
    found = query.condition(twin)
    assert (
        found is expected
        or found == expected
        or (
            isinstance(found, float)
            and isinstance(expected, float)
            and math.isclose(found, expected)
        )
    )


@given(st.text(alphabet="selctfromdvi.w hgbyan()[]'\"\\,=<>!+-*/%$019xetagsu", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but a QueryError comes of what is no query."""
    for head in ("", "select ", "select * from devices where "):
        with contextlib.suppress(QueryError):
            documents_of(parse_query(head + text), [TWIN])
