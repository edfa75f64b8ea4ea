"""The agent's conversation with its hub, packet by packet."""

import json
from collections.abc import Mapping
from itertools import count

import pytest

from skerry.agent.hub_session import Call, HubError, HubSession, TwinView
from skerry.wire.mqtt import (
    ConnAck,
    Connect,
    Packet,
    PubAck,
    Publish,
    Reader,
    SubAck,
    Subscribe,
    encode,
)
from skerry.wire.mqtt_client import SilentError
from skerry.wire.topics import (
    desired_topic,
    method_response_topic,
    method_topic,
    reported_topic,
    twin_get_topic,
    twin_response_topic,
)

TWIN = {"desired": {"a": 1, "$version": 4}, "reported": {"old": 1, "$version": 7}}


class Hub:
    """The other end: what it was sent, and what it says."""

    def __init__(self) -> None:
        ids = count(1)
        self.session = HubSession(Connect("d/$edgeAgent"), 0.0, lambda: str(next(ids)))
        self.sent(0.0)
        self.now = 0.0

    def says(self, *packets: Packet) -> list[Call]:
        return list(self.session.feed(b"".join(map(encode, packets)), self.now))

    def sent(self, now: float | None = None) -> list[Packet]:
        return list(Reader().feed(self.session.output(self.now if now is None else now)))

    def published(self) -> list[tuple[str, bytes]]:
        """Return topic and payload of what was published, and acknowledge it."""
        found = [packet for packet in self.sent() if isinstance(packet, Publish)]
        self.says(*(PubAck(packet.packet_id) for packet in found if packet.packet_id))
        return [(packet.topic, packet.payload) for packet in found]

    def opens(self) -> "Hub":
        """Take the client and grant all it subscribes to."""
        self.says(ConnAck())
        asked = [packet for packet in self.sent() if isinstance(packet, Subscribe)]
        self.says(*(SubAck(packet.packet_id, (1,)) for packet in asked))
        return self

    def gives(self, twin: Mapping[str, object] = TWIN, request_id: str = "1") -> "Hub":
        """Answer the request for the twin."""
        assert self.published() == [(twin_get_topic(request_id), b" ")]
        self.says(Publish(twin_response_topic(200, request_id), json.dumps(twin).encode()))
        return self

    def patches(self, version: int, patch: object) -> None:
        self.says(Publish(desired_topic(version), json.dumps(patch).encode()))

    @property
    def desired(self) -> Mapping[str, object]:
        assert self.session.twin is not None
        return self.session.twin.desired


def test_the_twin_is_asked_for_when_all_is_subscribed() -> None:
    """Not before, so that no change falls between."""
    hub = Hub()
    hub.says(ConnAck())
    first, second, third = (p for p in hub.sent() if isinstance(p, Subscribe))
    hub.says(SubAck(first.packet_id, (1,)), SubAck(third.packet_id, (1,)))
    assert hub.published() == []
    hub.says(SubAck(second.packet_id, (1,)))
    hub.gives()
    assert hub.session.twin == TwinView(TWIN["desired"], TWIN["reported"])


def test_a_refused_subscription_ends_the_connection() -> None:
    """There is no twin without it."""
    hub = Hub()
    hub.says(ConnAck())
    asked = next(packet for packet in hub.sent() if isinstance(packet, Subscribe))
    with pytest.raises(HubError, match="refuses the subscription"):
        hub.says(SubAck(asked.packet_id, (0x80,)))


def test_the_next_version_is_merged() -> None:
    """Nulls remove; the version is kept."""
    hub = Hub().opens().gives()
    hub.patches(5, {"a": None, "b": {"c": 1}, "$version": 5})
    assert hub.desired == {"b": {"c": 1}, "$version": 5}
    assert hub.published() == []


def test_an_older_version_changes_nothing() -> None:
    """It is contained in the twin already."""
    hub = Hub().opens().gives()
    hub.patches(4, {"a": 9, "$version": 4})
    assert hub.desired == TWIN["desired"]


def test_a_gap_asks_for_the_whole_twin() -> None:
    """A patch was missed."""
    hub = Hub().opens().gives()
    hub.patches(6, {"a": 9})
    hub.gives({"desired": {"a": 9, "$version": 6}, "reported": {}}, "2")
    assert hub.desired == {"a": 9, "$version": 6}


def test_a_patch_while_the_twin_is_on_its_way_asks_again() -> None:
    """The answer may be older than the patch."""
    hub = Hub().opens()
    hub.patches(5, {"a": 2})
    hub.gives()
    hub.gives({"desired": {"a": 2, "$version": 5}, "reported": {}}, "2")
    assert hub.desired == {"a": 2, "$version": 5}


def test_only_the_difference_is_reported() -> None:
    """New, changed and removed; nothing when nothing changed."""
    hub = Hub().opens()
    hub.session.want({"new": {"x": 1}}, 0.0)
    hub.gives()
    topic, payload = hub.published()[0]
    assert topic == reported_topic("2")
    assert json.loads(payload) == {"old": None, "new": {"x": 1}}
    hub.says(Publish(twin_response_topic(204, "2", 8)))
    assert hub.session.twin is not None
    assert hub.session.twin.reported == {"new": {"x": 1}, "$version": 8}
    hub.session.want({"new": {"x": 1}}, 1.0)
    assert hub.published() == []


def test_reports_follow_one_another() -> None:
    """The second waits for the first one's answer and is the difference to it."""
    hub = Hub().opens().gives({"desired": {}, "reported": {}})
    hub.session.want({"a": 1}, 0.0)
    assert [json.loads(payload) for _, payload in hub.published()] == [{"a": 1}]
    hub.session.want({"a": 1, "b": 2}, 0.0)
    hub.session.want({"a": 1, "b": 3}, 0.0)
    assert hub.published() == []
    hub.says(Publish(twin_response_topic(204, "2", 2)))
    assert [json.loads(payload) for _, payload in hub.published()] == [{"b": 3}]


@pytest.mark.parametrize(("status", "again"), [(429, True), (503, True), (400, False)])
def test_a_report_that_is_not_taken_is_named(status: int, again: bool) -> None:
    """It is tried again when time can help, and not before."""
    hub = Hub().opens().gives({"desired": {}, "reported": {}})
    hub.session.want({"a": 1}, 0.0)
    hub.published()
    hub.says(Publish(twin_response_topic(status, "2"), b"too much"))
    assert hub.session.problem == f"the hub does not take the report: {status} too much"
    hub.session.tick(29.0)
    assert hub.published() == []
    hub.now = 30.0
    hub.session.tick(30.0)
    assert bool([topic for topic, _ in hub.published() if "reported" in topic]) is again


def test_a_twin_that_is_not_given_is_asked_for_later() -> None:
    """The reason is told meanwhile."""
    hub = Hub().opens()
    hub.published()
    hub.says(Publish(twin_response_topic(429, "1"), b"slow down"))
    assert hub.session.problem == "the hub does not give the twin: 429 slow down"
    hub.now = 30.0
    hub.session.tick(30.0)
    hub.gives(request_id="2")
    assert hub.session.problem == ""


def test_the_twin_is_refreshed_every_hour() -> None:
    """Whatever was missed comes then."""
    hub = Hub().opens().gives()
    hub.now = 3600.0
    hub.session.tick(3600.0)
    hub.gives(request_id="2")


def test_a_request_without_an_answer_ends_the_connection() -> None:
    """After a minute, though the connection seems to live."""
    hub = Hub().opens()
    hub.now = 59.0
    hub.says(Publish(method_topic("ping", "x"), b""))
    with pytest.raises(SilentError, match="no answer to a twin request within 60 s"):
        hub.session.tick(60.0)


def test_methods_are_handed_out_and_answered() -> None:
    """By their request id; the message is acknowledged first."""
    hub = Hub().opens().gives()
    call = Call("ping", "abc", b"{}")
    assert hub.says(Publish(method_topic("ping", "abc"), b"{}", 1, 9)) == [call]
    hub.session.answer(call, 200, b"null")
    sent = hub.sent()
    assert sent[0] == PubAck(9)
    assert isinstance(sent[1], Publish)
    assert (sent[1].topic, sent[1].payload) == (method_response_topic(200, "abc"), b"null")


def test_answers_to_nobody_are_ignored() -> None:
    """As after a request of a former connection in the same session."""
    hub = Hub().opens().gives()
    hub.says(Publish(twin_response_topic(200, "stale"), b"{}"))
    assert hub.desired == TWIN["desired"]


@pytest.mark.parametrize(
    ("payload", "message"),
    [(b"{", "not JSON"), (b"[]", "sent list"), (b"{}", "no 'desired' and 'reported'")],
)
def test_a_twin_of_another_shape_ends_the_connection(payload: bytes, message: str) -> None:
    """With what was wrong."""
    hub = Hub().opens()
    hub.published()
    with pytest.raises(HubError, match=message):
        hub.says(Publish(twin_response_topic(200, "1"), payload))
