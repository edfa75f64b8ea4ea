"""Messages as devices see them over HTTPS (device-sdk-wire.md §4.1, §4.2)."""

import base64
import json
from dataclasses import replace

import pytest

from harness.lab import HUB, Hosted, signed
from skerry.heads.model import Telemetry
from skerry.heads.routes import Answer, Request
from skerry.wire.identity import Identity
from skerry_lab.messages.model import Ack, Outgoing
from skerry_lab.registry.model import Authentication, AuthType, Module, Status

DEVICE = Identity("d1")
EVENTS = "POST /devices/d1/messages/events"
BOUND = "/devices/d1/messages/deviceBound"
BATCH = {"content-type": "application/vnd.microsoft.iothub.json"}


@pytest.fixture
def lab(hosted: Hosted) -> Hosted:
    """A lab with one device."""
    hosted.registry.create_device("d1")
    return hosted


def call(
    lab: Hosted,
    line: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    query: str = "",
    version: str = "2020-03-13",
    audience: str = "d1",
) -> Answer:
    key = lab.registry.device("d1").authentication.keys[0]
    token = lab.token(f"{HUB}/devices/{audience}", key)
    method, _, path = line.partition(" ")
    asked = {"api-version": version} | ({query: ""} if query else {})
    sent = {"authorization": token, **(headers or {})}
    return ask(lab, Request(method, path, asked, sent, body))


def ask(lab: Hosted, request: Request) -> Answer:
    try:
        return lab.store.do(lambda cloud: cloud.answer(request))
    except Exception as error:
        return lab.store.cloud.refusal(error)


def stored(lab: Hosted) -> list[Telemetry]:
    events = lab.store.do(lambda cloud: list(cloud.messages.read(0, 100, 1 << 30)))
    return [event.telemetry for event in events]


def send(lab: Hosted, **more: object) -> None:
    wanted = replace(Outgoing(DEVICE, b"\x00x", message_id="m-1"), **more)  # type: ignore[arg-type]
    lab.store.do(lambda cloud: cloud.messages.send(wanted))


def test_a_device_sends(lab: Hosted) -> None:
    """204; headers become properties, the body stays as it is."""
    headers = {
        "iothub-messageid": "7",
        "iothub-contenttype": "application/json",
        "iothub-contentencoding": "utf-8",
        "iothub-creationtimeutc": "2026-11-23T12:00:00Z",
        "iothub-app-alert": "false",
        "iothub-to": "/devices/d1/messages/events",
        "content-type": "application/octet-stream",
        "user-agent": "x",
    }
    assert call(lab, EVENTS, b"\xff{}", headers).status == 204
    system = {
        "message-id": "7",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "creation-time-utc": "2026-11-23T12:00:00Z",
        "to": "/devices/d1/messages/events",
    }
    assert stored(lab) == [Telemetry(DEVICE, system, {"alert": "false"}, b"\xff{}")]


def test_a_module_sends_with_its_own_key(lab: Hosted) -> None:
    """By its own path."""
    keys = lab.registry.device("d1").authentication
    lab.store.do(lambda cloud: cloud.registry.put_module(Module("d1", "$m", keys)))
    line = "POST /devices/d1/modules/%24m/messages/events"
    assert call(lab, line, b"x", audience="d1/modules/$m").status == 204
    assert [one.identity for one in stored(lab)] == [Identity("d1", "$m")]


def test_a_batch_is_many_messages(lab: Hosted) -> None:
    """As the C SDK sends it: base64 unless it says otherwise, names with and without prefix."""
    batch = [
        {"body": base64.b64encode(b"\xff").decode(), "properties": {"iothub-app-a": "1"}},
        {"body": "hä", "base64Encoded": False, "properties": {"b": "2", "IoTHub-MessageId": "7"}},
    ]
    assert call(lab, EVENTS, json.dumps(batch).encode(), BATCH).status == 204
    assert stored(lab) == [
        Telemetry(DEVICE, {}, {"a": "1"}, b"\xff"),
        Telemetry(DEVICE, {"message-id": "7"}, {"b": "2"}, "hä".encode()),
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", b"the batch is not JSON"),
        (b'[{"body": "\\ud800", "base64Encoded": false}]', b"the batch is not JSON"),
        (b"{}", b"the batch is dict, expected a list of messages"),
        (b"[7]", b'has no text as \\"body\\"'),
        (b'[{"body": "?"}]', b"body is not base64"),
        (b'[{"body": "", "properties": {"a": 1}}]', b"has to be a table of texts"),
    ],
)
def test_a_batch_of_the_wrong_shape_stores_nothing(
    lab: Hosted, body: bytes, message: bytes
) -> None:
    """400, with what was expected."""
    got = call(lab, EVENTS, body, BATCH)
    assert (got.status, message in got.body) == (400, True), got
    assert stored(lab) == []


def test_a_message_that_is_too_large_is_413(lab: Hosted) -> None:
    """Alone or in a batch; the others of the batch are not stored either."""
    large = "x" * 262_145
    assert call(lab, EVENTS, large.encode()).status == 413
    batch = [{"body": text, "base64Encoded": False} for text in ("small", large)]
    got = call(lab, EVENTS, json.dumps(batch).encode(), BATCH)
    assert (got.status, got.headers["iothub-errorcode"]) == (413, "MessageTooLarge")
    assert stored(lab) == []


@pytest.mark.parametrize("bound", [BOUND, BOUND.lower()])
def test_a_device_receives_and_completes(lab: Hosted, bound: str) -> None:
    """204 without any; the token comes as the etag, properties as headers."""
    assert call(lab, f"GET {bound}").status == 204
    properties = {"colour": "grün 100%", "a b": " 1 "}
    send(lab, system={"correlation-id": "c"}, properties=properties, ack=Ack.FULL)
    got = call(lab, f"GET {bound}")
    token = got.headers["etag"].strip('"')
    assert (got.status, got.body) == (200, b"\x00x")
    assert got.headers == {
        "content-type": "application/octet-stream",
        "etag": f'"{token}"',
        "iothub-sequencenumber": "1",
        "iothub-enqueuedtime": "2026-11-23T12:00:00.000000Z",
        "iothub-deliverycount": "0",
        "iothub-messageid": "m-1",
        "iothub-correlationid": "c",
        "iothub-to": "/devices/d1/messages/devicebound",
        "iothub-expiry": "2026-11-23T13:00:00.000000Z",
        "iothub-ack": "full",
        "iothub-app-colour": "gr%C3%BCn 100%25",
        "iothub-app-a%20b": "%201%20",
    }
    assert call(lab, f"GET {bound}").status == 204
    assert call(lab, f"DELETE {bound}/{token}").status == 204
    got = call(lab, f"DELETE {bound}/{token}")
    assert (got.status, got.headers["iothub-errorcode"]) == (412, "DeviceMessageLockLost")


def test_a_device_rejects_or_abandons(lab: Hosted) -> None:
    """`?reject` ends a message, abandoning brings it again."""
    send(lab, ack=Ack.FULL)
    token = call(lab, f"GET {BOUND}").headers["etag"].strip('"')
    assert call(lab, f"POST {BOUND}/{token}/abandon").status == 204
    again = call(lab, f"GET {BOUND}")
    assert again.headers["iothub-deliverycount"] == "1"
    token = again.headers["etag"].strip('"')
    assert call(lab, f"DELETE {BOUND}/{token}", query="reject").status == 204
    assert call(lab, f"GET {BOUND}").status == 204
    assert lab.store.do(lambda cloud: cloud.messages.depth(DEVICE)) == 0


def test_a_certificate_is_enough(lab: Hosted) -> None:
    """A device of type `certificateAuthority` sends without any token."""
    root = signed("root", authority=True)
    lab.registry.trust("root", root.pem)
    by_authority = Authentication(AuthType.CERTIFICATE_AUTHORITY)
    lab.registry.create_device("x1", authentication=by_authority)
    query = {"api-version": "2020-03-13"}
    request = Request(
        "POST", "/devices/x1/messages/events", query, {}, b"x", signed("x1", root).der
    )
    assert ask(lab, request).status == 204
    assert ask(lab, replace(request, certificates=signed("x2", root).der)).status == 401


@pytest.mark.parametrize(
    "line", [EVENTS, f"GET {BOUND}", f"DELETE {BOUND}/t", f"POST {BOUND}/t/abandon"]
)
def test_only_the_device_itself_may(lab: Hosted, line: str) -> None:
    """Another's token, none at all, an unknown api-version, a disabled device."""
    lab.registry.create_device("d2")
    method, _, path = line.partition(" ")
    key = lab.registry.device("d2").authentication.keys[0]
    other = {"authorization": lab.token(f"{HUB}/devices/d2", key)}
    query = {"api-version": "2020-03-13"}
    assert ask(lab, Request(method, path, query, other)).status == 401
    assert ask(lab, Request(method, path, query)).status == 401
    assert call(lab, line, version="1999-01-01").status == 400
    lab.registry.update_device(replace(lab.registry.device("d1"), status=Status.DISABLED))
    assert call(lab, line).status == 401
    assert stored(lab) == []
