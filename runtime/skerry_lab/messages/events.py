"""The event stream: what devices sent, as server-sent events, `GET /skerry/events`.

An event's id is its offset, its data one JSON object. A reader that comes back with `Last-Event-ID`
misses nothing that is still kept, and is told by an event `gap` how many are not. Every reader
holds one page in memory at most: who reads slowly falls behind in the log, and who takes nothing
for as long as the HTTP server waits is disconnected.
"""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from skerry.heads.routes import LiveRoute, Request, Stream
from skerry_lab.cloud import Cloud
from skerry_lab.messages.model import Event, encode
from skerry_lab.registry.errors import HubError, bad_argument
from skerry_lab.registry.policies import Right
from skerry_lab.store import Store

HEARTBEAT_SECONDS = 15.0
MAX_READERS = 32

_PAGE_EVENTS = 500
_PAGE_BYTES = 1024 * 1024
_PACE_SECONDS = 0.02
_HEADERS = {"content-type": "text/event-stream", "cache-control": "no-store"}
_SYSTEM = {
    "creation-time-utc": "iothub-creation-time-utc",
    "message-schema": "iothub-message-schema",
    "interface-id": "iothub-interface-id",
    "component-name": "dt-subject",
    "output-name": "iothub-outputname",
    "operation": "iothub-operation",
    "expiry-time-utc": "absolute-expiry-time",
}
_CLAIMED = ("connection-device-id", "connection-module-id")
"""What a sender says of itself; the hub says it by what it knows."""


class News(Protocol):
    """Tells of commits: `live.Changes`."""

    count: int

    async def wait(self, seen: int, seconds: float) -> None: ...


@dataclass(frozen=True)
class Choice:
    """Which events a reader wants: of one device or module, or all."""

    device_id: str | None = None
    module_id: str | None = None

    def takes(self, event: Event) -> bool:
        """Tell whether an event is wanted."""
        identity = event.telemetry.identity
        return (self.device_id in (None, identity.device_id)) and (
            self.module_id in (None, identity.module_id)
        )


@dataclass(frozen=True)
class _Page:
    missing: int
    events: Sequence[Event]
    after: int
    is_last: bool


class EventsApi:
    """The stream's route; lives on the loop."""

    def __init__(
        self, store: Store, news: News, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> None:
        self._store = store
        self._news = news
        self._heartbeat_seconds = heartbeat_seconds
        self._readers = 0

    def routes(self) -> list[LiveRoute]:
        return [LiveRoute("GET", "/skerry/events", self.stream)]

    async def stream(self, request: Request) -> Stream:
        """Answer with a stream that does not end. Raises: HubError 400, 401, 403, 429."""
        after = await self._store.ado(lambda cloud: _start(cloud, request))
        if self._readers >= MAX_READERS:
            raise HubError(
                429, "ThrottlingException", f"{MAX_READERS} readers of events are connected"
            )
        choice = Choice(request.query.get("deviceId"), request.query.get("moduleId"))
        return Stream(self._chunks(after, choice), _HEADERS)

    async def _chunks(self, after: int, choice: Choice) -> AsyncGenerator[bytes, None]:
        self._readers += 1
        try:
            yield b": events\n\n"
            while True:
                seen, looked = self._news.count, time.monotonic()
                page = await self._page(after, choice)
                after = page.after
                if page.missing:
                    yield _said("gap", {"missing": page.missing})
                if page.events:
                    yield b"".join(map(_shown, page.events))
                if page.is_last:
                    await self._news.wait(seen, self._heartbeat_seconds)
                    if self._news.count == seen:
                        yield b": nothing new\n\n"
                    # Commits come by the hundred a second: some of them are read together.
                    await asyncio.sleep(max(0.0, looked + _PACE_SECONDS - time.monotonic()))
        finally:
            self._readers -= 1

    async def _page(self, after: int, choice: Choice) -> _Page:
        return await self._store.ado(lambda cloud: _read(cloud, after, choice))


def event_json(event: Event) -> dict[str, object]:
    """Return an event as the stream shows it; a body that is no UTF-8 is base64."""
    telemetry = event.telemetry
    identity = telemetry.identity
    enqueued = event.enqueued.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    method = _auth_method("device" if identity.module_id is None else "module", event.auth_type)
    system: dict[str, str] = {
        "iothub-connection-device-id": identity.device_id,
        "iothub-connection-auth-method": method,
        "iothub-connection-auth-generation-id": event.generation_id,
        "iothub-enqueuedtime": enqueued,
        "iothub-message-source": "Telemetry",
    }
    if identity.module_id is not None:
        system["iothub-connection-module-id"] = identity.module_id
    for name, value in telemetry.system.items():
        if name not in _CLAIMED:
            system[_SYSTEM.get(name, name)] = value
    body, encoding = _text(telemetry.body)
    return {
        "offset": event.offset,
        "deviceId": identity.device_id,
        "moduleId": identity.module_id,
        "enqueuedTime": enqueued,
        "systemProperties": system,
        "properties": telemetry.properties,
        "body": body,
        "bodyEncoding": encoding,
    }


@cache
def _auth_method(scope: str, auth_type: str) -> str:
    by_key = auth_type == "sas"
    method = {
        "scope": scope,
        "type": "sas" if by_key else "x509",
        "issuer": "iothub" if by_key else "external",
        "acceptingIpFilterRule": None,
    }
    return encode(method)


def _start(cloud: Cloud, request: Request) -> int:
    """Return the offset behind which a reader begins."""
    cloud.access.policy(request, Right.SERVICE_CONNECT)
    oldest, newest = cloud.messages.ends()
    last_seen = request.headers.get("last-event-id")
    if last_seen is not None:
        return min(_offset(last_seen, "Last-Event-ID"), newest)
    start = request.query.get("from", "latest")
    if start == "latest":
        return newest
    if start == "earliest":
        return oldest - 1
    return min(_offset(start, "from") - 1, newest)


def _offset(text: str, what: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise bad_argument(f"{what} is {text[:64]!r}, expected an offset, 'earliest' or 'latest'")
    return int(text)


def _read(cloud: Cloud, after: int, choice: Choice) -> _Page:
    oldest, newest = cloud.messages.ends()
    missing = max(0, oldest - 1 - max(0, after))
    after = max(after, oldest - 1)
    found = list(cloud.messages.read(after, _PAGE_EVENTS, _PAGE_BYTES))
    last = found[-1].offset if found else after
    return _Page(missing, [event for event in found if choice.takes(event)], last, last >= newest)


def _shown(event: Event) -> bytes:
    return f"id: {event.offset}\ndata: {encode(event_json(event))}\n\n".encode()


def _said(kind: str, data: object) -> bytes:
    return f"event: {kind}\ndata: {encode(data)}\n\n".encode()


def _text(body: bytes) -> tuple[str, str]:
    try:
        return body.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"
