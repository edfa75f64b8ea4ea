"""DPS over MQTT, without a socket: CONNECT, register, poll (device-sdk-wire.md §4.3)."""

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.lab import HUB, Hosted, signed
from skerry.wire.mqtt import Connect
from skerry.wire.topics import TopicError
from skerry_lab.dps.model import Attestation, Enrollment, checked
from skerry_lab.dps.mqtt import (
    ACCEPTED,
    BAD_CLIENT_ID,
    BAD_USER_NAME,
    REFUSED,
    DpsLink,
    is_dps,
)

KEY = b"k" * 32
ENROLLMENT = Enrollment(
    "dev1",
    Attestation.SYMMETRIC_KEY,
    primary_key=base64.b64encode(KEY).decode(),
    secondary_key=base64.b64encode(b"s" * 32).decode(),
    echo=True,
)
REGISTER = "$dps/registrations/PUT/iotdps-register/?$rid=7b-1"
POLL = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=r2&operationId="


def enrol(lab: Hosted, enrollment: Enrollment = ENROLLMENT) -> None:
    lab.store.do(lambda cloud: cloud.dps.put_enrollment(checked(enrollment)))


def packet(lab: Hosted, name: str = "dev1", key: bytes = KEY) -> Connect:
    """A CONNECT as the Python SDK sends it: no skn, no question mark."""
    user = f"{lab.scope}/registrations/{name}/api-version=2019-03-31&ClientVersion=py%2F2.14"
    token = lab.token(f"{lab.scope}/registrations/{name}", key)
    return Connect(name, user, token.encode(), clean_session=False)


def connect(lab: Hosted, sent: Connect, certificates: Sequence[bytes] = ()) -> int:
    return asyncio.run(DpsLink(lab.store).connect(sent, certificates))


def talk(
    lab: Hosted, sent: Connect, *said: tuple[str, bytes], certificates: Sequence[bytes] = ()
) -> list[tuple[str, dict[str, object]]]:
    """Connect, publish one after the other, return what is answered."""

    async def scenario() -> list[tuple[str, dict[str, object]]]:
        link = DpsLink(lab.store)
        assert await link.connect(sent, certificates) == ACCEPTED
        answers = [answer for one in said for answer in await link.publish(*one)]
        return [(topic, json.loads(payload)) for topic, payload in answers]

    return asyncio.run(scenario())


def register_body(name: str = "dev1", payload: object = None) -> bytes:
    return json.dumps({"payload": payload, "registrationId": name}).encode()


def test_a_device_is_assigned(hosted: Hosted) -> None:
    """202 with an operation and the seconds to wait, then 200 with hub, device and payload."""
    enrol(hosted)
    [(topic, begun)] = talk(hosted, packet(hosted), (REGISTER, register_body(payload={"a": 1})))
    assert topic == "$dps/registrations/res/202/?$rid=7b-1&retry-after=0"
    assert begun["status"] == "assigning"
    [(topic, done)] = talk(hosted, packet(hosted), (f"{POLL}{begun['operationId']}", b" "))
    assert topic == "$dps/registrations/res/200/?$rid=r2"
    state = done["registrationState"]
    assert isinstance(state, dict)
    wanted = {"assignedHub": HUB, "deviceId": "dev1", "payload": {"a": 1}}
    assert (done["status"], state) == ("assigned", state | wanted)


def test_a_certificate_needs_no_password(hosted: Hosted) -> None:
    """The chain of the handshake is the credential, also of a group."""
    root = signed("root", authority=True)
    enrol(hosted, Enrollment("site", Attestation.X509, group=True, certificates=(root.pem,)))
    sent = replace(packet(hosted), password=None)
    der = signed("dev1", root).der
    [(_, begun)] = talk(hosted, sent, (REGISTER, register_body()), certificates=der)
    said = (f"{POLL}{begun['operationId']}", b" ")
    [(_, done)] = talk(hosted, sent, said, certificates=der)
    assert done["status"] == "assigned"
    assert connect(hosted, sent) == REFUSED


def test_a_disabled_enrolment_is_told_so(hosted: Hosted) -> None:
    """It may connect and register; the state it ends in is `disabled`."""
    enrol(hosted, replace(ENROLLMENT, enabled=False))
    [(_, begun)] = talk(hosted, packet(hosted), (REGISTER, register_body()))
    [(_, done)] = talk(hosted, packet(hosted), (f"{POLL}{begun['operationId']}", b""))
    assert done["status"] == "disabled"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, ACCEPTED),
        ({"client_id": "dev2"}, BAD_CLIENT_ID),
        ({"username": "0ne/registrations//api-version=2019-03-31"}, BAD_USER_NAME),
        ({"username": "0ne/registrations/dev1/"}, BAD_USER_NAME),
        ({"username": "0neOther/registrations/dev1/api-version=2019-03-31"}, REFUSED),
        ({"password": b"\xff"}, BAD_USER_NAME),
        ({"password": b"SharedAccessSignature sr=x&sig=y&se=1"}, REFUSED),
        ({"password": None}, REFUSED),
    ],
)
def test_a_connect_is_answered_by_its_code(
    hosted: Hosted, changes: dict[str, object], code: int
) -> None:
    """User name and client id have to agree, and the credential has to hold."""
    enrol(hosted)
    assert connect(hosted, replace(packet(hosted), **changes)) == code  # type: ignore[arg-type]


def test_who_is_not_enrolled_is_refused(hosted: Hosted) -> None:
    """As is a token with another key, and one that has expired."""
    assert connect(hosted, packet(hosted)) == REFUSED
    enrol(hosted)
    assert connect(hosted, packet(hosted, key=b"x" * 32)) == REFUSED
    sent = packet(hosted)
    hosted.clock.move(31)
    assert connect(hosted, sent) == REFUSED


def test_errors_come_by_status(hosted: Hosted) -> None:
    """What the HTTPS API refuses is refused here with the same status and body."""
    enrol(hosted)
    answers = talk(
        hosted,
        packet(hosted),
        (REGISTER, b"{"),
        (REGISTER, register_body("dev2")),
        (f"{POLL}none", b" "),
    )
    assert [(topic.split("/")[3], body.get("errorCode")) for topic, body in answers] == [
        ("400", 400000),
        ("400", 400000),
        ("404", 404202),
    ]


@pytest.mark.parametrize(
    "topic",
    ["$dps/registrations/PUT/iotdps-register/", "$iothub/twin/GET/?$rid=1", REGISTER.lower(), POLL],
)
def test_another_topic_is_an_error(hosted: Hosted, topic: str) -> None:
    """A topic that is not DPS's, or without a request id, ends the connection."""
    enrol(hosted)
    with pytest.raises(TopicError, match="is not one of DPS's"):
        talk(hosted, packet(hosted), (topic, b"{}"))


def test_the_user_name_tells_dps_from_the_hub() -> None:
    """The head decides by it."""
    assert is_dps("0ne1/registrations/r/api-version=2019-03-31")
    assert not is_dps("hub/d1/?api-version=2020-09-30")
    assert not is_dps(None)
