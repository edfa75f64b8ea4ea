"""Positions: the text of every value, parsed alone, is the value that tomllib gives at its path."""

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.config.locate import locate
from skerry.config.problems import KeyPath, Position
from skerry.config.references import value_at

KEYS = st.sampled_from(["a", "b", "c-1", '"d e"', "'f.g'", '"h\\u0041"', '""'])
SCALARS = st.sampled_from(
    [
        "1", "-1", "0x1F", "1_000", "3.5e2", "inf", "true", "false", '"text"',
        '"a \\" # ]} b"', "'raw \\'",
        '"""long\n"" line\\\n  x"""', "'''it's\n# no comment'''", '"""two quotes """""', "''",
        "1979-05-27", "07:32:00", "1979-05-27 07:32:00", "1979-05-27T00:32:00.999-07:00",
    ]
)  # fmt: skip
GAPS = st.sampled_from(["", " ", "\t ", " # note ] } = \" '\n", "\n\n", "\r\n"])
BLANKS = st.sampled_from(["", " ", "\t"])


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(values, max_size=3))
    inner = ",".join(draw(GAPS) + item + draw(GAPS) for item in items)
    comma = draw(st.sampled_from(["", ","])) if items else ""
    return f"[{inner}{comma}{draw(GAPS)}]"


@st.composite
def inline_tables(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    keys = draw(st.lists(KEYS, unique=True, max_size=3))
    pairs = [f"{draw(BLANKS)}{key}{draw(BLANKS)}={draw(BLANKS)}{draw(values)}" for key in keys]
    return "{" + ",".join(pairs) + draw(BLANKS) + "}"


VALUES = st.recursive(SCALARS, lambda inner: arrays(inner) | inline_tables(inner), max_leaves=6)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Write lines that are each valid; what contradicts another line is filtered by tomllib."""
    lines = []
    for _ in range(draw(st.integers(0, 8))):
        name = (draw(BLANKS) + "." + draw(BLANKS)).join(
            draw(st.lists(KEYS, min_size=1, max_size=3))
        )
        form = draw(st.sampled_from(["pair", "pair", "table", "array"]))
        if form == "pair":
            lines.append(f"{draw(BLANKS)}{name}{draw(BLANKS)}={draw(BLANKS)}{draw(VALUES)}")
        elif form == "table":
            lines.append(f"{draw(BLANKS)}[{draw(BLANKS)}{name}{draw(BLANKS)}]")
        else:
            lines.append(f"[[{draw(BLANKS)}{name}{draw(BLANKS)}]]")
        text = "\n".join(lines)
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            lines.pop()
    return "".join(line + draw(st.sampled_from(["\n", " # end\n", "\r\n"])) for line in lines)


def _paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    below: dict[str | int, Any] = {}
    if isinstance(value, dict):
        below = dict(value)
    elif isinstance(value, list):
        below = dict(enumerate(value))
    found = {path} if path else set()
    for key, item in below.items():
        found |= _paths(item, (*path, key))
    return found


@settings(max_examples=150, deadline=None)
@given(documents())
def test_every_value_is_where_its_text_is(text: str) -> None:
    """Each span parses to the value of its path, and every path of the document has a place."""
    document = tomllib.loads(text)
    found = locate(text)
    for path, span in found.values.items():
        alone = tomllib.loads(f"x = {text[span.start : span.end]}")["x"]
        assert alone == value_at(document, path)
    assert _paths(document) == set(found.keys) | set(found.values)


TEXT = """\
hostname = "x"
a.b = [1,
  {c = 2}]
[[t]]
k = 1
[[t]]
k = 2
[t.u]
v = true
"""


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("hostname",), (1, 1), (1, 12)),
        (("a", "b"), (2, 3), (2, 7)),
        (("a", "b", 1), (3, 3), (3, 3)),
        (("a", "b", 1, "c"), (3, 4), (3, 8)),
        (("t", 0, "k"), (5, 1), (5, 5)),
        (("t", 1, "k"), (7, 1), (7, 5)),
        (("t", 1), (6, 3), (6, 3)),
        (("t", 1, "u", "v"), (9, 1), (9, 5)),
        (("t", 1, "u", "missing"), (8, 4), (8, 4)),
        (("nothing",), (1, 1), (1, 1)),
    ],
)  # fmt: skip
def test_positions_count_from_one(
    path: KeyPath, key: tuple[int, int], value: tuple[int, int]
) -> None:
    """A key and a value have line and column; what is not there has those of its parent."""
    found = locate(TEXT)
    assert (found.key(path), found.value(path)) == (Position(*key), Position(*value))
