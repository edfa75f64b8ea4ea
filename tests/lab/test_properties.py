"""Properties of what the lab accepts: tokens in any encoding, changed in any place."""

import base64
import hmac
import string

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.lab import HUB, Hosted, make_token
from skerry.wire import sas
from skerry_lab.registry.errors import HubError
from skerry_lab.registry.model import Authentication, AuthType

KEY = b"k" * 32
AUTH = Authentication(AuthType.SAS, base64.b64encode(KEY).decode())
IDS = st.text(string.ascii_letters + string.digits + "-:.+%_#*?!(),=@;$'", min_size=1, max_size=24)
ENCODED_ALWAYS = "%&=?#+"
FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def audiences(draw: st.DrawFn) -> tuple[str, str]:
    """A device id and its audience, in any case, percent-encoded once or twice."""
    device_id = draw(IDS)
    text = f"{HUB}/devices/{device_id}"
    text = draw(st.sampled_from([text, text.lower(), text.upper()]))
    for _ in range(draw(st.integers(1, 2))):
        everything = draw(st.booleans())
        lower = draw(st.booleans())
        letters = []
        for letter in text:
            code = f"%{ord(letter):02x}" if lower else f"%{ord(letter):02X}"
            letters.append(code if everything or letter in ENCODED_ALWAYS else letter)
        text = "".join(letters)
    return device_id, text


def status(hosted: Hosted, device_id: str, token: str) -> int:
    path = "".join(f"%{ord(letter):02X}" for letter in device_id)
    return hosted.call(f"GET /devices/{path}/modules", token=token, version="2021-04-12").status


@FEW
@given(audiences())
def test_any_encoding_of_the_audience_is_accepted(hosted: Hosted, drawn: tuple[str, str]) -> None:
    """Whatever of the audience an SDK encodes, and how often: it is the device's token."""
    device_id, resource = drawn
    try:
        hosted.registry.device(device_id)
    except HubError:
        hosted.registry.create_device(device_id, edge=False, authentication=AUTH)
    expiry = int(hosted.clock.now().timestamp()) + 60
    signature = hmac.digest(KEY, sas.sign_text(resource, expiry), "sha256")
    assert status(hosted, device_id, sas.token(resource, signature, expiry)) == 200


@FEW
@given(st.data())
def test_a_changed_token_is_refused(hosted: Hosted, data: st.DataObject) -> None:
    """One letter replaced anywhere makes it another token: 401, unless it still reads the same."""
    try:
        hosted.registry.device("d1")
    except HubError:
        hosted.registry.create_device("d1", edge=False, authentication=AUTH)
    good = make_token(f"{HUB}/devices/d1", KEY, hosted.clock.now().timestamp() + 60)
    place = data.draw(st.integers(0, len(good) - 1))
    letter = data.draw(st.characters(min_codepoint=32, max_codepoint=255))
    changed = good[:place] + letter + good[place + 1 :]
    try:
        same = sas.parse(changed) == sas.parse(good)
    except sas.SasError:
        same = False
    assert status(hosted, "d1", changed) == (200 if same else 401)
