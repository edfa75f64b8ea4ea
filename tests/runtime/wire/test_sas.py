"""Tokens as the SDKs and identityd write them, and what a verifier makes of them."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.wire import sas

KEY = b"k" * 32
HUB = "hub.example/devices/Pump 7"


def signed(resource: str, expiry: int, key_name: str | None = None) -> str:
    signature = hmac.digest(KEY, sas.sign_text(resource, expiry), hashlib.sha256)
    return sas.token(resource, signature, expiry, key_name)


def test_audience_is_lower_case_and_keeps_its_slashes() -> None:
    """The encoding is upstream's: controls, space and a few signs, nothing else."""
    assert sas.audience("Scope/registrations/Pump 7#é") == "scope/registrations/pump%207%23%C3%A9"


def test_token_has_the_layout_of_identityd() -> None:
    """A token made for a known key is the one that upstream's client makes."""
    resource = sas.audience("0ne/registrations/a")
    text = signed(resource, 1700000000, "registration")
    want = base64.b64encode(
        hmac.digest(KEY, b"0ne/registrations/a\n1700000000", hashlib.sha256)
    ).decode()
    encoded = want.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    assert text == (
        f"SharedAccessSignature sr=0ne/registrations/a&sig={encoded}&se=1700000000&skn=registration"
    )


@pytest.mark.parametrize(
    "resource", ["hub/devices/d", "hub%2Fdevices%2Fd", "hub%2fdevices%2fd%252Fx", "HUB/devices/D"]
)
def test_every_encoding_of_the_audience_is_verified_as_received(resource: str) -> None:
    """The signature counts over the text that came, however an SDK encodes it."""
    sas.verify(sas.parse(signed(resource, 2000)), KEY, 1000)


def test_parts_may_come_in_any_order_and_unencoded() -> None:
    """An SDK that leaves the signature's plus and equals signs alone is understood."""
    signature = base64.b64encode(b"\xfb\xff" * 16).decode()
    found = sas.parse(f"sharedaccesssignature se=5&skn=&sig={signature}&x=1&sr=a%2Fb")
    assert (found.signature, found.audience, found.expires) == (b"\xfb\xff" * 16, "a/b", 5.0)
    assert found.key_name is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Bearer abc", "not a shared access signature"),
        ("SharedAccessSignature", "not a shared access signature"),
        ("SharedAccessSignature sr=a&sig=YQ==", "no 'se'"),
        ("SharedAccessSignature sr=a&se=1", "no 'sig'"),
        ("SharedAccessSignature sr=&sig=YQ==&se=1", "no 'sr'"),
        ("SharedAccessSignature sr=a&sr=b&sig=YQ==&se=1", "'sr' twice"),
        ("SharedAccessSignature sr=a&sig=YQ==&se=soon", "seconds since 1970"),
        ("SharedAccessSignature sr=a&sig=YQ==&se=" + "9" * 13, "seconds since 1970"),
        ("SharedAccessSignature sr=a&sig=%C3%A9&se=1", "not base64"),
        ("SharedAccessSignature sr=a&sig=*&se=1", "not base64"),
        ("SharedAccessSignature " + "a" * 5000, "at most 4096"),
    ],
)
def test_a_malformed_token_is_refused_by_name(text: str, message: str) -> None:
    """The message says which part is wrong."""
    with pytest.raises(sas.SasError, match=message):
        sas.parse(text)


def test_an_expired_token_is_refused() -> None:
    """The end of its time is exclusive, and the message names the clock."""
    token = sas.parse(signed("hub/devices/d", 1000))
    sas.verify(token, KEY, 999.5)
    with pytest.raises(sas.SasError, match="expired 1 s ago; check the clock"):
        sas.verify(token, KEY, 1001)


def test_another_key_is_refused_before_the_time_is_looked_at() -> None:
    """A stranger learns nothing about the time."""
    token = sas.parse(signed("hub/devices/d", 1))
    with pytest.raises(sas.SasError, match="does not match"):
        sas.verify(token, b"other", 1000)


def test_device_key_is_the_documented_derivation() -> None:
    """A group's key gives the device's, as every enrolment tool derives it."""
    derived = sas.device_key(b"group", "Reg-1")
    assert derived == hmac.new(b"group", b"Reg-1", hashlib.sha256).digest()


@given(st.text(min_size=1, max_size=60), st.integers(1, 10**10))
def test_what_is_put_together_comes_apart_again(text: str, expiry: int) -> None:
    """Any name survives its token."""
    resource = sas.audience(text.replace("&", "-"))
    if resource and len(resource) < 3000:
        found = sas.parse(signed(resource, expiry, "a b"))
        assert (found.resource, found.expires, found.key_name) == (resource, float(expiry), "a b")


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Nothing but SasError comes out."""
    for candidate in (text, f"SharedAccessSignature {text}"):
        try:
            sas.parse(candidate)
        except sas.SasError:
            continue
