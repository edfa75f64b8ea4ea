"""Patches of twin documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.wire.twins import diff, merge

_names = st.sampled_from(["a", "b", "c"])
_values = st.recursive(
    st.booleans() | st.integers(0, 2) | st.sampled_from([1.0, "x"]) | st.just([1, None]),
    lambda inner: st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)
_documents = st.dictionaries(_names, _values, max_size=3)


@given(_documents, _documents)
def test_the_difference_leads_from_one_to_the_other(
    old: dict[str, object], new: dict[str, object]
) -> None:
    """Types too: true is not 1."""
    assert repr(_sorted(merge(old, diff(old, new)))) == repr(_sorted(new))


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return float(value) if type(value) is int else value


@given(_documents)
def test_nothing_is_sent_for_what_is_equal(document: dict[str, object]) -> None:
    """An empty patch."""
    assert diff(document, document) == {}


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"a": 1}, {"a": None}, {}),
        ({"a": 1}, {"b": None}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": 1}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"a": {"b": 1}}, {"a": [1]}, {"a": [1]}),
    ],
    ids=["null removes", "nothing to remove", "inside", "object for a value", "list replaces"],
)
def test_patches_are_merged_as_iot_hub_does(
    document: dict[str, object], patch: dict[str, object], expected: dict[str, object]
) -> None:
    """And the document itself stays as it was."""
    before = repr(document)
    assert merge(document, patch) == expected
    assert repr(document) == before
