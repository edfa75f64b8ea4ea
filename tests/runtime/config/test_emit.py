"""Emission: tomllib reads back what was written."""

import datetime
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.config.emit import dump

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXTS
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.datetimes(timezones=st.just(datetime.UTC))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_written_is_read_back(table: dict[str, Any]) -> None:
    """load(dump(x)) == x for every table."""
    assert tomllib.loads(dump(table)) == table


def test_a_document_reads_as_a_person_would_write_it() -> None:
    """Plain values come first, tables under headers, arrays of tables under double ones."""
    table = {"t": {"u": {"k": 1}}, "a": [{"b": 1}, {}], "s": "x\n", "e": [], "m": [{}, 1], "n": {}}
    assert dump(table) == (
        's = "x\\n"\ne = []\nm = [{}, 1]\n\n[t.u]\nk = 1\n\n[[a]]\nb = 1\n\n[[a]]\n\n[n]\n'
    )


@pytest.mark.parametrize(
    ("value", "text"), [(float("inf"), "inf"), (float("-inf"), "-inf"), (float("nan"), "nan")]
)
def test_floats_without_digits_have_their_words(value: float, text: str) -> None:
    """Infinity and not-a-number are written as TOML spells them."""
    assert dump({"x": value}) == f"x = {text}\n"


def test_what_toml_cannot_say_is_an_error() -> None:
    """A value without a form in TOML is named."""
    with pytest.raises(TypeError, match="None has no form in TOML"):
        dump({"x": None})
