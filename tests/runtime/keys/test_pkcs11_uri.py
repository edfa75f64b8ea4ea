"""PKCS#11 URIs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.errors import SettingsError
from skerry.base.log import Secret
from skerry.keys.pkcs11_uri import Pkcs11Uri, format_uri, parse_uri

TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]))
URIS = st.builds(
    Pkcs11Uri,
    token=TEXT,
    manufacturer=TEXT,
    model=TEXT,
    serial=TEXT,
    slot_id=st.none() | st.integers(0, 2**64 - 1),
    label=TEXT,
    object_id=st.none() | st.binary(),
    pin_value=st.none() | st.builds(Secret, st.text(st.characters(exclude_categories=["Cs"]))),
)


@given(URIS)
def test_parsing_undoes_formatting(uri: Pkcs11Uri) -> None:
    """parse(format(x)) is x; without the PIN, all but the PIN."""
    parsed = parse_uri(format_uri(uri))
    assert parsed == uri
    assert (parsed.pin_value is None) == (uri.pin_value is None)
    if uri.pin_value is not None and parsed.pin_value is not None:
        assert parsed.pin_value.reveal() == uri.pin_value.reveal()
    assert parse_uri(uri.describe()).pin_value is None


@given(st.text())
def test_any_text_is_a_uri_or_a_settings_error(text: str) -> None:
    """Nothing else comes out of the parser."""
    for candidate in (text, f"pkcs11:{text}"):
        try:
            parse_uri(candidate)
        except SettingsError:
            continue


def test_what_upstream_s_documents_show_is_read() -> None:
    """The example with a token, an object and a PIN."""
    uri = parse_uri("pkcs11:token=Key%20pairs;object=device-id;type=private?pin-value=12%2034")
    assert uri == Pkcs11Uri(token="Key pairs", label="device-id", pin_value=Secret("12 34"))
    assert "12 34" not in repr(uri) + str(uri) + uri.describe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("file:///x", "begins with 'pkcs11:'", id="scheme"),
        pytest.param("pkcs11:token", "is not name=value", id="no value"),
        pytest.param("pkcs11:token=a;token=b", "says 'token' twice", id="twice"),
        pytest.param("pkcs11:object=%FF", "'object' of the PKCS#11 URI is not UTF-8", id="UTF-8"),
        pytest.param("pkcs11:slot-id=one", "slot-id .* is not a number", id="slot"),
        pytest.param("pkcs11:slot-id=99999999999999999999", "is not a number", id="large slot"),
        pytest.param("pkcs11:?module-path=/x.so", "'module-path' .* not usable", id="module"),
        pytest.param("pkcs11:type=spoon", "'type' of the", id="type"),
        pytest.param("pkcs11:?pin-source=|cat", "is not file:/path", id="PIN program"),
        pytest.param(
            "pkcs11:?pin-value=canary&pin-source=/x", "both pin-value and pin-source", id="two PINs"
        ),
    ],
)
def test_what_is_wrong_is_named_without_the_pin(text: str, message: str) -> None:
    """The message may be shown to anybody."""
    with pytest.raises(SettingsError, match=message) as caught:
        parse_uri(text)
    assert "canary" not in str(caught.value)


def test_the_pin_is_read_from_its_file(tmp_path: Path) -> None:
    """A line end after it does not count; a file that cannot be read is named."""
    file = tmp_path / "pin"
    file.write_text("4711\n")
    uri = parse_uri(f"pkcs11:token=a?pin-source=file://{file}")
    pin = uri.pin()
    assert pin is not None
    assert pin.reveal() == "4711"
    assert parse_uri(format_uri(uri)) == uri
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=f"PIN file {file} cannot be read: it is not text"):
        uri.pin()
    file.unlink()
    with pytest.raises(SettingsError, match=f"PIN file {file} cannot be read: No such file"):
        uri.pin()
