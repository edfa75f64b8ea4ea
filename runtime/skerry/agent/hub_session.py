"""The agent's conversation with its hub: twin and direct methods over one MQTT connection, sans-IO.

Source: azure-iot-edge.md §5.1, §5.4, §6.4. The twin is asked for once the hub has granted all
subscriptions, so that no change falls between; a patch of desired properties counts only if it is
the next version, else the whole twin is asked for again. Reported properties are sent as the
difference to what the hub has, one request at a time.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from skerry.agent.errors import AgentError
from skerry.wire.mqtt import FAILED_SUBSCRIPTION, Connect, Publish
from skerry.wire.mqtt_client import Client, Granted, Opened, Received, SilentError
from skerry.wire.topics import (
    DESIRED,
    METHODS,
    TWIN_RESPONSES,
    DesiredPatch,
    MethodCall,
    TwinResponse,
    method_response_topic,
    parse_hub_topic,
    reported_topic,
    twin_get_topic,
)
from skerry.wire.twins import diff, merge

REFRESH_SECONDS = 3600.0
_ANSWER_SECONDS = 60.0
_RETRY_SECONDS = 30.0
_SUBSCRIPTIONS = (TWIN_RESPONSES, DESIRED, METHODS)
_TOO_MANY, _SERVER_ERROR = 429, 500


class HubError(AgentError):
    """The hub said what it must not, or does not want what it should."""


@dataclass(frozen=True)
class TwinView:
    """The twin as the agent knows it; both parts hold `$version`."""

    desired: Mapping[str, object]
    reported: Mapping[str, object]


@dataclass(frozen=True)
class Call:
    """A direct method that waits for its answer."""

    name: str
    request_id: str
    payload: bytes


@dataclass(frozen=True)
class _Asked:
    request_id: str
    since: float
    patch: Mapping[str, object] | None = None


class HubSession:
    """One connection, from its CONNECT to its end. Times are monotonic seconds."""

    def __init__(self, connect: Connect, now: float, new_id: Callable[[], str]) -> None:
        self.twin: TwinView | None = None
        self.problem = ""
        """Why the hub did not take the reported properties; empty when it did."""
        self._client = Client(connect, now)
        self._new_id = new_id
        self._ungranted: set[int] = set()
        self._asked: _Asked | None = None
        self._twin_due = float("inf")
        self._report_due = float("inf")
        self._wanted: Mapping[str, object] | None = None

    def feed(self, data: bytes, now: float) -> Iterator[Call]:
        """Take the hub's bytes; yields direct methods. To be read to its end.

        Raises: MqttError, HubError: the connection is to be closed.
        """
        for event in self._client.feed(data, now):
            match event:
                case Opened():
                    self._ungranted = {self._client.subscribe([one]) for one in _SUBSCRIPTIONS}
                case Granted(packet_id, codes):
                    if FAILED_SUBSCRIPTION in codes:
                        raise HubError("the hub refuses the subscription to twin or methods")
                    self._ungranted.discard(packet_id)
                    if not self._ungranted:
                        self._twin_due = now
                case Received(message):
                    self._client.acknowledge(message)
                    call = self._take(message, now)
                    if call is not None:
                        yield call
        self._ask(now)

    def want(self, reported: Mapping[str, object], now: float) -> None:
        """Say what the reported properties shall be."""
        if reported != self._wanted:
            self._wanted = reported
            self._report_due = now
            self._ask(now)

    def answer(self, call: Call, status: int, payload: bytes) -> None:
        """Answer a direct method."""
        self._client.publish(method_response_topic(status, call.request_id), payload)

    def output(self, now: float) -> bytes:
        """Return what has to be sent."""
        return self._client.output(now)

    def due(self) -> float:
        """Return when `tick` has to be called."""
        own = min(self._twin_due, self._report_due)
        if self._asked is not None:
            own = self._asked.since + _ANSWER_SECONDS
        return min(self._client.due(), own)

    def tick(self, now: float) -> None:
        """Do what is due. Raises: SilentError."""
        self._client.tick(now)
        if self._asked is not None and now >= self._asked.since + _ANSWER_SECONDS:
            raise SilentError(f"no answer to a twin request within {_ANSWER_SECONDS:g} s")
        self._ask(now)

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()

    def _ask(self, now: float) -> None:
        """Send the next twin request, if there is one and none is under way."""
        if self._asked is not None:
            return
        if now >= self._twin_due:
            self._twin_due = now + REFRESH_SECONDS
            self._asked = _Asked(self._new_id(), now)
            self._client.publish(twin_get_topic(self._asked.request_id), b" ")
        elif self.twin is not None and self._wanted is not None and now >= self._report_due:
            self._report_due = float("inf")
            patch = diff(_plain(self.twin.reported), self._wanted)
            if patch:
                self._asked = _Asked(self._new_id(), now, patch)
                topic = reported_topic(self._asked.request_id)
                self._client.publish(topic, json.dumps(patch, separators=(",", ":")).encode())

    def _take(self, message: Publish, now: float) -> Call | None:
        match parse_hub_topic(message.topic):
            case MethodCall(name, request_id):
                return Call(name, request_id, message.payload)
            case DesiredPatch(version):
                self._patch_desired(version, message.payload, now)
            case TwinResponse(status, request_id, version):
                asked = self._asked
                if asked is not None and request_id == asked.request_id:
                    self._asked = None
                    if asked.patch is None:
                        self._twin_came(status, message.payload, now)
                    else:
                        self._patch_taken(asked.patch, status, version, message.payload, now)
        return None

    def _twin_came(self, status: int, payload: bytes, now: float) -> None:
        if status != 200:
            self.problem = f"the hub does not give the twin: {status} {_text(payload)}"
            self._twin_due = now + _RETRY_SECONDS
            return
        document = _object(payload)
        desired, reported = document.get("desired"), document.get("reported")
        if not isinstance(desired, dict) or not isinstance(reported, dict):
            raise HubError("the hub's twin has no 'desired' and 'reported', expected both")
        self.twin = TwinView(desired, reported)
        self.problem = ""
        self._report_due = now

    def _patch_desired(self, version: int, payload: bytes, now: float) -> None:
        if self.twin is None or (self._asked is not None and self._asked.patch is None):
            # The twin is on its way and may be older than this.
            self._twin_due = now
            return
        known = self.twin.desired.get("$version")
        if not isinstance(known, int) or version > known + 1:
            self._twin_due = now
        elif version == known + 1:
            desired = {**merge(self.twin.desired, _object(payload)), "$version": version}
            self.twin = replace(self.twin, desired=desired)

    def _patch_taken(
        self,
        patch: Mapping[str, object],
        status: int,
        version: int | None,
        payload: bytes,
        now: float,
    ) -> None:
        if status in (200, 204) and self.twin is not None:
            reported = merge(self.twin.reported, patch)
            if version is not None:
                reported["$version"] = version
            self.twin = replace(self.twin, reported=reported)
            self.problem = ""
            self._report_due = now
            return
        self.problem = f"the hub does not take the report: {status} {_text(payload)}"
        # Anything else is told by the same properties again as little as by these.
        if status == _TOO_MANY or status >= _SERVER_ERROR:
            self._report_due = now + _RETRY_SECONDS


def _plain(properties: Mapping[str, object]) -> dict[str, object]:
    """Return properties without what the hub adds."""
    return {name: value for name, value in properties.items() if not name.startswith("$")}


def _object(payload: bytes) -> dict[str, object]:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise HubError(f"the hub sent what is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise HubError(f"the hub sent {type(found).__name__}, expected a JSON object")
    return found


def _text(payload: bytes) -> str:
    return payload[:200].decode(errors="replace")
