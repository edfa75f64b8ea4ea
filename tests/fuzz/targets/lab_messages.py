"""Messages over HTTPS from both sides, with credentials that hold: properties, batches, bodies.

An input is method and path, a line a header, an empty line, the body. A message waits for the
device, whose properties are those of the input, so that they are told as headers too.
"""

from functools import cache

import h11

from fuzz.targets.lab_routes import cloud
from harness.lab import HUB, ask, make_token
from skerry.heads.routes import Request
from skerry.wire.identity import Identity
from skerry_lab.messages.model import Outgoing
from skerry_lab.registry.model import Authentication, AuthType, Device

ALLOWED = ()
SEEDS = [
    b"POST /devices/d9/messages/events\niothub-app-a: b\niothub-messageid: 7\n\nbody",
    b"POST /devices/d9/messages/events\ncontent-type: application/vnd.microsoft.iothub.json\n\n"
    b'[{"body": "AA==", "properties": {"iothub-app-a": "b", "c": "d"}}]',
    b"POST /devices/d9/messages/events\ncontent-type: application/vnd.microsoft.iothub.json\n\n"
    b'[{"body": "a\\u00e4", "base64Encoded": false}, {"body": ""}]',
    b"GET /devices/d9/messages/deviceBound\na b%: \xe4\x01\n\n",
    b"DELETE /devices/d9/messages/devicebound/x\n\n",
    b"POST /devices/d9/messages/deviceBound/x/abandon\n\n",
    b'POST /skerry/devices/d9/messages/devicebound\n\n{"body": "x", "properties": {"a": "b"}, '
    b'"messageId": "m", "ack": "full", "timeToLiveSeconds": 60, "contentType": "t"}',
    b'POST /skerry/devices/d9/messages/devicebound\n\n{"bodyBase64": "AA==", '
    b'"expiryTimeUtc": "2026-11-23T12:30:00+00:00"}',
    b"DELETE /devices/d9/commands\n\n",
    b"GET /messages/serviceBound/feedback\n\n",
    b"DELETE /messages/serviceBound/filenotifications/x\n\n",
]
_KEY_TEXT, _KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", b"k" * 32
_OWNER = "iothubowner"
_DEVICE = Identity("d9")


@cache
def _owner_key() -> bytes:
    lab, _ = cloud()
    lab.registry.put_device(Device("d9", Authentication(AuthType.SAS, _KEY_TEXT)))
    owner = lab.policies.get(_OWNER)
    assert owner is not None
    return owner.keys[0]


def one(data: bytes) -> None:
    """Call a route; the answer is the API's and can be sent."""
    owner_key = _owner_key()
    lab, connection = cloud()
    head, _, body = data.decode("latin-1").partition("\n\n")
    line, *lines = head.split("\n")
    method, _, path = line.partition(" ")
    told = dict(text.partition(": ")[::2] for text in lines)
    expiry = lab.clock.now().timestamp() + 60
    if path.startswith("/devices/d9/messages/"):
        token = make_token(f"{HUB}/devices/d9", _KEY, expiry)
    else:
        token = make_token(HUB, owner_key, expiry, _OWNER)
    lab.messages.send(Outgoing(_DEVICE, b"x", {"correlation-id": body[:99]}, told))
    headers = {**{name.lower(): value for name, value in told.items()}, "authorization": token}
    query = {"api-version": "2021-04-12"}
    answer = ask(lab, connection, Request(method, path, query, headers, body.encode("latin-1")))
    connection.execute("DELETE FROM c2d")
    assert answer.status in range(200, 500), answer
    h11.Response(status_code=answer.status, headers=list(answer.headers.items()))
