"""Messages as services see them: our own route to send, IoT Hub's to purge and for feedback."""

from datetime import timedelta

import pytest

from harness.lab import HUB, START, Got, Hosted
from skerry.wire.identity import Identity
from skerry_lab.messages.model import C2d, Outcome
from skerry_lab.registry.model import Module

SEND = "POST /skerry/devices/d1/messages/devicebound"
DEVICE = Identity("d1")
FEEDBACK = "/messages/serviceBound/feedback"


@pytest.fixture
def lab(hosted: Hosted) -> Hosted:
    """A lab with one device."""
    hosted.registry.create_device("d1")
    return hosted


def call(lab: Hosted, line: str, body: object = None, policy: str = "service") -> Got:
    found = lab.store.do(lambda cloud: cloud.policies.get(policy))
    assert found is not None
    token = lab.token(HUB, found.keys[0], policy)
    return lab.call(line, body, token=token, version="2021-04-12")


def received(lab: Hosted, identity: Identity = DEVICE) -> C2d:
    [message] = lab.store.do(lambda cloud: cloud.messages.next_c2d(identity, 1))
    return message


def test_a_message_is_sent(lab: Hosted) -> None:
    """With all that may be said of it; the answer tells id, number and times."""
    got = call(
        lab,
        SEND,
        {
            "body": "hä",
            "properties": {"k": "v"},
            "messageId": "m-1",
            "correlationId": "c",
            "userId": "u",
            "contentType": "text/plain",
            "contentEncoding": "utf-8",
            "ack": "full",
            "timeToLiveSeconds": 60,
        },
    )
    assert (got.status, got.body) == (
        201,
        {
            "messageId": "m-1",
            "sequenceNumber": 1,
            "enqueuedTimeUtc": "2026-11-23T12:00:00+00:00",
            "expiryTimeUtc": "2026-11-23T12:01:00+00:00",
        },
    )
    message = received(lab)
    assert (message.body, message.properties) == ("hä".encode(), {"k": "v"})
    said = {"correlation-id": "c", "user-id": "u", "content-type": "text/plain"}
    said |= {"content-encoding": "utf-8", "ack": "full"}
    assert message.system.items() >= said.items()


def test_the_body_may_be_octets_and_the_expiry_a_time(lab: Hosted) -> None:
    """Base64; RFC 3339, without a zone it is UTC. Nothing at all is an empty message."""
    call(lab, SEND, {"bodyBase64": "AP8=", "expiryTimeUtc": "2026-11-23T13:30:00"})
    call(lab, SEND, {})
    first, second = received(lab), received(lab)
    assert (first.body, first.expires) == (b"\x00\xff", START + timedelta(minutes=90))
    assert (second.body, second.expires) == (b"", START + timedelta(hours=1))


def test_a_module_is_sent_to(lab: Hosted) -> None:
    """By its own path."""
    keys = lab.registry.device("d1").authentication
    lab.store.do(lambda cloud: cloud.registry.put_module(Module("d1", "$m", keys)))
    got = call(lab, "POST /skerry/devices/d1/modules/%24m/messages/devicebound", {"body": "x"})
    assert got.status == 201
    assert received(lab, Identity("d1", "$m")).body == b"x"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not JSON"),
        (b'{"body": "\\ud800"}', "the body is not JSON"),
        ([], "the body is list, expected a JSON object"),
        ({"text": "x"}, "'text' is not known, expected ack, body"),
        ({"body": 7}, "body is 7, expected a text"),
        ({"bodyBase64": "?"}, "bodyBase64 is not base64"),
        ({"properties": {"a": 1}}, "properties has to be a table of texts"),
        ({"ack": "all"}, "ack is 'all', expected none, positive, negative, full"),
        ({"messageId": "x" * 129}, "messageId has 129 characters, expected at most 128"),
        ({"expiryTimeUtc": "soon"}, "expiryTimeUtc is 'soon', expected RFC 3339"),
        ({"expiryTimeUtc": "2020-01-01T00:00:00Z"}, "expected within 48 h"),
        ({"timeToLiveSeconds": 0}, "timeToLiveSeconds is 0, expected a number above 0"),
        ({"timeToLiveSeconds": 200_000}, "expected within 48 h"),
    ],
)
def test_a_message_of_the_wrong_shape_is_refused(lab: Hosted, body: object, message: str) -> None:
    """400, with what was expected; nothing is queued."""
    got = call(lab, SEND, body)
    assert (got.status, got.headers["iothub-errorcode"]) == (400, "ArgumentInvalid")
    assert message in got.message
    assert lab.store.do(lambda cloud: cloud.messages.depth(DEVICE)) == 0


def test_commands_are_purged(lab: Hosted) -> None:
    """The number is told; an unknown device is 404."""
    for _ in range(3):
        call(lab, SEND, {"ack": "full"})
    got = call(lab, "DELETE /devices/d1/commands")
    assert got.body == {"deviceId": "d1", "moduleId": None, "totalMessagesPurged": 3}
    assert call(lab, "DELETE /devices/d2/commands").status == 404


def test_feedback_is_read_under_a_lock(lab: Hosted) -> None:
    """200 with records and a token in the etag; then deleted, or given back."""
    assert call(lab, f"GET {FEEDBACK}").status == 204
    sent = call(lab, SEND, {"ack": "positive"})
    message = received(lab)
    token = message.lock_token
    lab.store.do(lambda c: c.messages.settle(DEVICE, token, Outcome.COMPLETE))
    got = call(lab, f"GET {FEEDBACK}")
    assert got.headers["content-type"] == "application/vnd.microsoft.iothub.feedback.json"
    assert got.body == [
        {
            "originalMessageId": sent["messageId"],
            "description": "Success",
            "deviceGenerationId": lab.registry.device("d1").generation_id,
            "deviceId": "d1",
            "enqueuedTimeUtc": "2026-11-23T12:00:00.000000Z",
            "statusCode": "Success",
        }
    ]
    assert call(lab, f"GET {FEEDBACK}").status == 204
    first = got.headers["etag"].strip('"')
    assert call(lab, f"POST {FEEDBACK}/{first}/abandon").status == 204
    assert call(lab, f"DELETE {FEEDBACK}/{first}").status == 412
    again = call(lab, f"GET {FEEDBACK}").headers["etag"].strip('"')
    assert call(lab, f"DELETE {FEEDBACK}/{again}").status == 204
    assert call(lab, f"POST {FEEDBACK}/{again}/abandon").status == 412
    assert call(lab, f"GET {FEEDBACK}").status == 204


@pytest.mark.parametrize(
    "line",
    [
        SEND,
        "DELETE /devices/d1/commands",
        f"GET {FEEDBACK}",
        f"DELETE {FEEDBACK}/x",
        f"POST {FEEDBACK}/x/abandon",
    ],
)
def test_only_services_may(lab: Hosted, line: str) -> None:
    """Another policy is 403, nobody 401, another api-version of IoT Hub's routes 400."""
    assert call(lab, line, policy="registryReadWrite").status == 403
    assert lab.call(line, version="2021-04-12").status == 401
    if line != SEND:
        got = lab.call(line, version="2001-01-01")
        assert (got.status, got.headers["iothub-errorcode"]) == (400, "InvalidProtocolVersion")
