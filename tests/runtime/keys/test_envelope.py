"""What a key file says besides the key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.keys.envelope import Entry, EnvelopeError, Kind, dump, load
from skerry.keys.model import Use

USES = st.frozensets(st.sampled_from(Use))
ENTRIES = st.builds(
    Entry,
    st.sampled_from([Kind.SYMMETRIC, Kind.TOKEN_SYMMETRIC, Kind.TOKEN_PAIR]),
    st.binary(min_size=1),
    USES,
)


@given(ENTRIES)
def test_load_undoes_dump(entry: Entry) -> None:
    """load(dump(x)) is x, whatever the bytes of the key."""
    assert load(dump(entry)) == entry


@given(ENTRIES, st.data())
def test_a_cut_file_is_no_key(entry: Entry, data: st.DataObject) -> None:
    """No file that lost its end is taken for a key with a line."""
    whole = dump(entry)
    cut = whole[: data.draw(st.integers(len(b"SKERRY-KEY "), len(whole) - 1))]
    with pytest.raises(EnvelopeError):
        load(cut)


def test_a_pair_is_plain_pem() -> None:
    """Pairs have no line, so that other tools read them."""
    entry = Entry(Kind.PAIR, b"-----BEGIN PRIVATE KEY-----\n")
    assert dump(entry) == entry.data
    assert load(entry.data) == entry


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"SKERRY-KEY 2 x", "does not know", id="a later version"),
        pytest.param(dump(Entry(Kind.SYMMETRIC, b"abc"))[:-1], "is cut or changed", id="cut"),
        pytest.param(
            dump(Entry(Kind.SYMMETRIC, b"abc")).replace(b"symmetric", b"asymmetric"),
            "does not know", id="unknown kind",
        ),
        pytest.param(
            dump(Entry(Kind.SYMMETRIC, b"abc")).replace(b"encrypt", b"encode"),
            "does not know", id="unknown use",
        ),
        pytest.param(
            dump(Entry(Kind.SYMMETRIC, b"abc")).replace(b"symmetric", b"pair"),
            "does not know", id="a pair with a line",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(content: bytes, message: str) -> None:
    """The words end the sentence that begins with the path, and hold nothing of the key."""
    with pytest.raises(EnvelopeError, match=message) as caught:
        load(content)
    assert "abc" not in str(caught.value)


def test_bytes_without_a_line_are_a_key_for_everything() -> None:
    """What upstream wrote goes on working."""
    entry = Entry(Kind.RAW, b"\0raw")
    assert load(b"\0raw") == entry
    assert dump(entry) == b"\0raw"
