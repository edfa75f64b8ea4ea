"""A direct method as it is asked for over HTTPS, of hub and lab alike (azure-iot-edge.md §6.6)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from skerry.heads.errors import HeadError
from skerry.heads.links import Links, NotSubscribedError
from skerry.wire.identity import Identity

MAX_PAYLOAD_BYTES = 128 * 1024
MAX_NAME_CHARACTERS = 100
CALLER_HEADER = "x-ms-edge-moduleid"
_RESPONSE_SECONDS, _DEFAULT_SECONDS = range(5, 301), 30
_CONNECT_SECONDS = range(301)


class InvocationError(HeadError):
    """A call that is not one; the message says what was expected."""


@dataclass(frozen=True)
class Invocation:
    """A call as it was asked for; `payload` is JSON."""

    name: str
    payload: bytes
    response_seconds: int
    connect_seconds: int


def parse_invocation(body: Mapping[str, object]) -> Invocation:
    """Read the body of a call. Raises: InvocationError."""
    name = body.get("methodName")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise InvocationError(
            f"methodName is {name!r}, expected a text of 1 to {MAX_NAME_CHARACTERS} characters"
        )
    payload = json.dumps(body.get("payload"), separators=(",", ":")).encode()
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise InvocationError(
            f"payload has {len(payload)} bytes, expected at most {MAX_PAYLOAD_BYTES}"
        )
    return Invocation(
        name,
        payload,
        _seconds(body, "responseTimeoutInSeconds", _RESPONSE_SECONDS, _DEFAULT_SECONDS),
        _seconds(body, "connectTimeoutInSeconds", _CONNECT_SECONDS, 0),
    )


async def invoke(links: Links, target: Identity, wanted: Invocation) -> dict[str, object]:
    """Call a client that is connected, or connects in time; returns the body of the answer.

    Raises: NotSubscribedError for a client that cannot be called, TimeoutError with a message.
    """
    link = await links.wait_for(target, wanted.connect_seconds)
    if link is None:
        raise NotSubscribedError(f"{target} is not connected")
    try:
        status, payload = await link.call(wanted.name, wanted.payload, wanted.response_seconds)
    except ConnectionError as error:
        raise NotSubscribedError(f"{target} has disconnected") from error
    except TimeoutError:
        raise TimeoutError(f"{target} did not answer within {wanted.response_seconds} s") from None
    return {"status": status, "payload": _read(payload)}


def _read(payload: bytes) -> object:
    if not payload:
        return None
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload.decode(errors="replace")


def _seconds(body: Mapping[str, object], name: str, allowed: range, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        raise InvocationError(f"{name} is {value!r}, expected {allowed[0]} to {allowed[-1]}")
    return value
