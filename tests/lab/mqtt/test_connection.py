"""One connection without its transport: what it keeps, its order of answers, what it forgets."""

import json
from collections.abc import Iterator

import pytest

from harness.lab import memory_cloud
from harness.mqtt_head import DirectClient, DirectHead
from skerry.heads.delivery import MAX_UNACKNOWLEDGED
from skerry.heads.mqtt import overdue
from skerry.wire.identity import Identity
from skerry.wire.mqtt import (
    ConnAck,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    encode,
)
from skerry.wire.topics import (
    DESIRED,
    TWIN_RESPONSES,
    events_topic,
    reported_topic,
    twin_get_topic,
)
from skerry_lab.errors import StoreError
from skerry_lab.messages.model import Outgoing

DEVICE = Identity("d1")
C2D = "devices/d1/messages/devicebound/#"


@pytest.fixture
def head() -> Iterator[DirectHead]:
    cloud, database = memory_cloud()
    made = DirectHead(cloud, database)
    made.register("d1")
    yield made
    made.trouble = None
    made.run()
    database.close()


@pytest.fixture
def client(head: DirectHead) -> DirectClient:
    """A device that is connected and hears all there is to hear."""
    opened = DirectClient(head, "d1")
    assert opened.connect() == [ConnAck()]
    opened.send(Subscribe(1, ((DESIRED, 1), (TWIN_RESPONSES, 1), (C2D, 1))))
    assert opened.answers() == [SubAck(1, (1, 1, 1))]
    return opened


def send_c2d(head: DirectHead, body: bytes) -> None:
    head.cloud.messages.send(Outgoing(DEVICE, body))
    link = head.links.get(DEVICE)
    if link is not None:
        link.messages_waiting()


def published(client: DirectClient) -> list[Publish]:
    return [packet for packet in client.answers() if isinstance(packet, Publish)]


def test_a_packet_before_connect_is_small(head: DirectHead) -> None:
    """Nobody who is not known makes the lab keep more than a CONNECT can need."""
    opened = DirectClient(head, "d1")
    opened.connection.received(b"\x10\x80\x80\x05", 0.0)
    assert opened.connection.is_closed


def test_nothing_but_connect_comes_first(head: DirectHead) -> None:
    """It ends the connection, and what follows is not looked at."""
    opened = DirectClient(head, "d1")
    opened.send(PingReq())
    assert opened.connection.is_closed
    assert opened.connect() == []
    assert head.commits == 0


def test_what_comes_with_connect_waits_for_its_answer(head: DirectHead) -> None:
    """The client is not read from while it is checked; then its packets are done in order."""
    opened = DirectClient(head, "d1")
    opened.send(opened.hello(), Publish(events_topic("d1"), b"1", 1, 9), PingReq())
    assert opened.connection in head.held
    assert opened.answers() == [ConnAck(), PingResp(), PubAck(9)]
    assert opened.connection not in head.held


def test_who_is_refused_gets_nothing_done(head: DirectHead) -> None:
    """What came with the CONNECT is forgotten."""
    opened = DirectClient(head, "d1")
    opened.send(opened.hello(password=b"no"), Publish(events_topic("d1"), b"1", 1, 9))
    assert opened.answers() == [ConnAck(5)]
    assert head.cloud.messages.ends() == (1, 0)


def test_a_lab_that_cannot_look_says_try_later(head: DirectHead) -> None:
    """With code 3: the stock SDKs try that again, other than 4 and 5."""
    head.trouble = StoreError("the disk is full")
    assert DirectClient(head, "d1").connect() == [ConnAck(3)]


def test_requests_under_way_are_bounded(head: DirectHead, client: DirectClient) -> None:
    """A flood is not read on; all of it is answered, in order."""
    client.send(*(Publish(twin_get_topic(f"{n}"), b"", 1, n) for n in range(1, 101)))
    assert len(head.under_way) == 16
    assert client.connection in head.held
    answers = [packet.topic.rpartition("=")[2] for packet in published(client)]
    assert answers == [f"{n}" for n in range(1, 101)]
    assert client.connection not in head.held


def test_a_report_is_acknowledged_when_it_is_on_disk(
    head: DirectHead, client: DirectClient
) -> None:
    """Not before: a client that is not told sends it again."""
    client.send(Publish(reported_topic("r"), b'{"a": 1}', 1, 7))
    assert client.told() == []
    acknowledged, answer = client.answers()
    assert acknowledged == PubAck(7)
    assert isinstance(answer, Publish)
    assert answer.topic == "$iothub/twin/res/204/?$rid=r&$version=2"


@pytest.mark.parametrize("topic", [reported_topic("r"), twin_get_topic("r")])
def test_a_twin_that_cannot_be_reached_is_an_answer(
    topic: str, head: DirectHead, client: DirectClient
) -> None:
    """With 500, so that no client waits for ever."""
    head.trouble = StoreError("the disk is full")
    client.send(Publish(topic, b"{}", 0))
    [answer] = published(client)
    assert answer.topic == "$iothub/twin/res/500/?$rid=r"
    assert json.loads(answer.payload) == {"Message": "the disk is full"}


def test_a_subscription_that_cannot_be_kept_is_not_granted(head: DirectHead) -> None:
    """The client comes again, rather than to be deaf after the next restart."""
    opened = DirectClient(head, "d1")
    opened.connect(clean_session=False)
    head.trouble = StoreError("the disk is full")
    opened.send(Subscribe(1, ((C2D, 1),)))
    assert opened.answers() == []
    assert opened.connection.is_closed


def test_a_removed_device_leaves_no_session(head: DirectHead) -> None:
    """Not even when it subscribes at that moment."""
    opened = DirectClient(head, "d1")
    opened.connect(clean_session=False)
    opened.send(Subscribe(1, ((C2D, 1),)))
    head.cloud.registry.delete_device("d1")
    assert opened.answers() == []
    assert head.cloud.sessions.load(DEVICE) is None


def test_a_filter_is_not_longer_than_a_topic_can_be(client: DirectClient) -> None:
    """Sessions stay small."""
    client.send(Subscribe(2, (("x" * 1025, 1), ("x" * 1024, 1))))
    assert client.answers() == [SubAck(2, (0x80, 1))]


def test_the_window_is_fifty_messages(head: DirectHead, client: DirectClient) -> None:
    """An acknowledged one makes room for the next."""
    for number in range(50):
        send_c2d(head, b"%d" % number)
    first = published(client)
    assert [packet.payload for packet in first] == [b"%d" % number for number in range(50)]
    client.send(PubAck(first[0].packet_id or 0))
    assert published(client) == []
    send_c2d(head, b"50")
    assert [packet.payload for packet in published(client)] == [b"50"]


def test_changes_of_the_twin_take_no_room_of_messages(
    head: DirectHead, client: DirectClient
) -> None:
    """A client that is slow with the one still gets the other."""
    for version in range(2, 62):
        client.connection.desired(version, {})
    assert len(published(client)) == 60
    send_c2d(head, b"through")
    assert [packet.payload for packet in published(client)] == [b"through"]


def test_who_acknowledges_nothing_is_closed(head: DirectHead, client: DirectClient) -> None:
    """And whoever told it goes on: no error reaches others."""
    for version in range(MAX_UNACKNOWLEDGED + 2):
        client.connection.desired(version, {})
    assert client.connection.is_closed
    assert head.links.get(DEVICE) is None


def test_an_unacknowledged_message_comes_again_as_one(
    head: DirectHead, client: DirectClient
) -> None:
    """Marked, in its old place."""
    send_c2d(head, b"1")
    send_c2d(head, b"2")
    assert [(one.payload, one.dup) for one in published(client)] == [(b"1", False), (b"2", False)]
    client.connection.lost()
    again = DirectClient(head, "d1")
    again.connect()
    again.send(Subscribe(1, ((C2D, 1),)))
    assert [(one.payload, one.dup) for one in published(again)] == [(b"1", True), (b"2", True)]


def test_a_connection_that_ends_frees_only_its_own(head: DirectHead, client: DirectClient) -> None:
    """What a newer connection of the same device has on its way stays settled by that."""
    send_c2d(head, b"1")
    [first] = published(client)
    newer = DirectClient(head, "d1")
    newer.connect()  # closes the first
    newer.send(Subscribe(1, ((C2D, 1),)))
    [second] = published(newer)
    assert first.payload == second.payload == b"1"
    newer.send(PubAck(second.packet_id or 0))
    newer.answers()
    assert head.cloud.messages.depth(DEVICE) == 0


def test_messages_fetched_for_who_has_gone_are_free_again(
    head: DirectHead, client: DirectClient
) -> None:
    """At once, not when their locks end."""
    send_c2d(head, b"1")
    client.connection.lost()
    head.run()
    assert [one.body for one in head.cloud.messages.next_c2d(DEVICE, 9)] == [b"1"]


def test_a_late_subscription_does_not_undo_a_clean_session(head: DirectHead) -> None:
    """The newer connection has said that nothing is to be kept."""
    old = DirectClient(head, "d1")
    old.connect(clean_session=False)
    newer = DirectClient(head, "d1")
    newer.send(newer.hello(clean_session=True))
    old.send(Subscribe(1, ((C2D, 1),)))
    newer.answers()
    assert head.cloud.sessions.load(DEVICE) is None


def test_bytes_after_the_end_do_nothing(head: DirectHead, client: DirectClient) -> None:
    """Whatever comes out of buffers."""
    client.connection.close("enough")
    before = head.commits
    client.connection.received(encode(Publish(twin_get_topic("1"))), 1.0)
    assert client.answers() == []
    assert head.commits == before


def test_bytes_that_trickle_do_not_keep_a_connection(head: DirectHead) -> None:
    """The time for CONNECT counts from the start."""
    opened = DirectClient(head, "d1")
    opened.connection.received(b"\x10", 14.0)
    assert overdue(opened.connection, 15.0, 0.0) == ""
    assert overdue(opened.connection, 15.1, 0.0) == "no CONNECT came"


def test_an_admitted_client_stays_while_it_is_heard(client: DirectClient) -> None:
    """For one and a half keep-alives, and as long as its token holds."""
    expires = client.connection.expires_at or 0.0
    client.connection.received(encode(PingReq()), 1000.0)
    assert overdue(client.connection, 1090.0, 0.0) == ""
    assert overdue(client.connection, 1090.1, 0.0) == "the client is silent"
    assert overdue(client.connection, 1000.0, expires) == "its token or certificate has expired"
