"""A message's properties as headers of HTTP, both ways.

System properties are `iothub-messageid` and the like, the application's `iothub-app-NAME`; in a
batch the same names stand in JSON. What a header cannot hold is percent-encoded on the way out.
"""

import json
import re
from collections.abc import Mapping
from urllib.parse import quote

from skerry.heads.model import Telemetry
from skerry.heads.routes import Request
from skerry.wire.identity import Identity
from skerry_lab.messages.model import C2d, check_size, octets
from skerry_lab.registry.errors import bad_argument

BATCH_TYPE = "application/vnd.microsoft.iothub.json"

_APPLICATION = "iothub-app-"
_SYSTEM = {
    "iothub-messageid": "message-id",
    "iothub-correlationid": "correlation-id",
    "iothub-userid": "user-id",
    "iothub-to": "to",
    "iothub-contenttype": "content-type",
    "iothub-contentencoding": "content-encoding",
    "iothub-expiry": "expiry-time-utc",
    "iothub-creationtimeutc": "creation-time-utc",
    "iothub-messageschema": "message-schema",
    "iothub-interface-id": "interface-id",
    "iothub-ack": "ack",
}
_HEADER = {long: header for header, long in _SYSTEM.items()}
_IN_VALUE = re.compile(r"^ | $|[^\x20-\x7e]|%").sub
_NAME_SAFE = "!#$&'*+-.^_`|~"


def telemetry_from(identity: Identity, request: Request) -> list[Telemetry]:
    """Return the message of a request, or those of a batch. Raises: HubError 400, 413."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == BATCH_TYPE:
        batch = [_from_json(identity, item) for item in _items(request.body)]
    else:
        batch = [Telemetry(identity, *_split(request.headers), request.body)]
    for telemetry in batch:
        check_size(telemetry)
    return batch


def c2d_headers(message: C2d) -> dict[str, str]:
    """Return the headers of a message to a device; the etag is its lock token."""
    headers = {
        "content-type": "application/octet-stream",
        "etag": f'"{message.lock_token}"',
        "iothub-sequencenumber": str(message.sequence),
        "iothub-enqueuedtime": message.enqueued.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "iothub-deliverycount": str(message.delivery_count - 1),
    }
    for name, value in message.system.items():
        if name in _HEADER:
            headers[_HEADER[name]] = _value(value)
    for name, value in message.properties.items():
        headers[_APPLICATION + quote(name, safe=_NAME_SAFE)] = _value(value)
    return headers


def _split(named: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    system: dict[str, str] = {}
    own: dict[str, str] = {}
    for name, value in named.items():
        lower = name.lower()
        if lower in _SYSTEM:
            system[_SYSTEM[lower]] = value
        elif lower.startswith(_APPLICATION):
            own[name[len(_APPLICATION) :]] = value
    return system, own


def _items(body: bytes) -> list[object]:
    try:
        items = json.loads(body)
        json.dumps(items, ensure_ascii=False).encode()  # half a surrogate pair cannot be stored
    except (ValueError, RecursionError) as error:
        raise bad_argument(f"the batch is not JSON: {error}") from error
    if not isinstance(items, list):
        raise bad_argument(f"the batch is {type(items).__name__}, expected a list of messages")
    return items


def _from_json(identity: Identity, item: object) -> Telemetry:
    body = item.get("body") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(body, str):
        raise bad_argument('a message of the batch has no text as "body"')
    properties = item.get("properties") or {}
    if not isinstance(properties, dict) or not all(isinstance(v, str) for v in properties.values()):
        raise bad_argument('"properties" of a message of the batch has to be a table of texts')
    data = body.encode() if item.get("base64Encoded") is False else octets(body, "body")
    system, own = _split(properties)
    plain = {
        name: value for name, value in properties.items() if not name.lower().startswith("iothub-")
    }
    return Telemetry(identity, system, own | plain, data)


def _value(text: str) -> str:
    return _IN_VALUE(lambda found: quote(found[0], safe=""), text)
