"""What clients get that send nonsense to the registry: an error of IoT Hub, and no more.

The lists of the MQTT head, of messages and twins are beside their tests.
"""

import base64
from pathlib import Path

import pytest

from harness.lab import HUB, START, Hosted, make_token, signed
from harness.mqtt import MqttDevice
from skerry.wire.identity import Identity
from skerry.wire.mqtt import ConnAck
from skerry_lab.registry.model import Authentication, AuthType
from skerry_lab.server import Lab

VERSION = "2021-04-12"


@pytest.fixture
def key(hosted: Hosted) -> bytes:
    """The key of the device `d1`."""
    return hosted.registry.create_device("d1", edge=False).authentication.keys[0]


@pytest.mark.parametrize(
    ("expiry", "problem"),
    [
        (START.timestamp(), "token expired 0 s ago"),
        (1, "token expired"),
        (10**13, "'se' is not a time"),
        (10**400, "'se' is not a time"),
        (-1, "'se' is not a time"),
    ],
    ids=["now", "1970", "milliseconds", "beyond numbers", "negative"],
)
def test_a_token_of_another_time_is_refused(
    hosted: Hosted, key: bytes, expiry: float, problem: str
) -> None:
    """Also one whose time is none, such as one in milliseconds."""
    token = make_token(f"{HUB}/devices/d1", key, expiry)
    got = hosted.call("GET /devices/d1", token=token, version=VERSION)
    assert (got.status, got.headers["iothub-errorcode"]) == (401, "IotHubUnauthorizedAccess")
    assert problem in got.message


def test_a_token_of_the_far_future_is_taken(hosted: Hosted, key: bytes) -> None:
    """There is no longest time at IoT Hub; it ends with the key."""
    token = make_token(f"{HUB}/devices/d1", key, 10**11)
    assert hosted.call("GET /devices/d1", token=token, version=VERSION).status == 200


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", b'{"deviceId": "\xc3("}', b"{", b"[]", b'{"status": "\\ud800"}', b"[" * 100_000],
    ids=["no UTF-8", "broken UTF-8", "half", "a list", "half a pair", "deep"],
)
def test_a_body_that_is_no_object_is_refused(hosted: Hosted, body: bytes) -> None:
    """With 400, and nothing is stored."""
    policy = hosted.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert policy is not None
    token = hosted.token(HUB, policy.keys[0], policy.name)
    got = hosted.call("PUT /devices/d2", body, token=token, version=VERSION)
    assert (got.status, got.headers["iothub-errorcode"]) == (400, "ArgumentInvalid")
    assert hosted.call("GET /devices", token=token, version=VERSION).body == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("GET /devices/none", "DeviceNotFound"),
        ("GET /devices/none/modules", "DeviceNotFound"),
        ("GET /devices/d1/modules/none", "ModuleNotFound"),
        ("DELETE /devices/d1/modules/none", "ModuleNotFound"),
    ],
)
def test_what_is_not_there_is_named(hosted: Hosted, key: bytes, line: str, code: str) -> None:
    """With 404 to who may ask."""
    policy = hosted.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert policy is not None
    token = hosted.token(HUB, policy.keys[0], policy.name)
    got = hosted.call(line, token=token, version=VERSION)
    assert (got.status, got.headers["iothub-errorcode"]) == (404, code)


def test_who_came_by_a_revoked_authority_is_closed(lab: Lab, tmp_path: Path) -> None:
    """At once, and is not let in again; another device stays."""
    now = lab.clock.now()
    root = signed("root", authority=True, start=now)
    leaf = signed("d1", root, start=now)
    lab.registry.trust("root", root.pem)
    lab.registry.create_device("d1", authentication=Authentication(AuthType.CERTIFICATE_AUTHORITY))
    other = lab.registry.create_device("d2")
    chain = str(leaf.write(tmp_path))
    one, two = Identity("d1"), Identity("d2")
    with (
        MqttDevice(lab, one, chain=chain) as client,
        MqttDevice(lab, two, other.authentication.keys[0]) as bystander,
    ):
        assert client.connect() == ConnAck()
        assert bystander.connect() == ConnAck()
        lab.store.do(lambda cloud: cloud.authorities.delete("root"))
        assert client.is_closed()
        with MqttDevice(lab, one, chain=chain) as again:
            assert again.connect() == ConnAck(5)
        bystander.publish("devices/d2/messages/events/", b"x")


def test_keys_that_are_none_are_refused(hosted: Hosted) -> None:
    """Too short, too long, no base64."""
    policy = hosted.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert policy is not None
    token = hosted.token(HUB, policy.keys[0], policy.name)
    for text in ("no base64", base64.b64encode(b"k" * 15).decode(), "A" * 400):
        body = {"authentication": {"symmetricKey": {"primaryKey": text}}}
        assert hosted.call("PUT /devices/d2", body, token=token, version=VERSION).status == 400
