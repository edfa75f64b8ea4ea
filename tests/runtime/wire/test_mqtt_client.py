"""The client's side of MQTT: opening, acknowledging, keeping alive, and servers that misbehave."""

import pytest

from skerry.wire.mqtt import (
    ConnAck,
    Connect,
    Disconnect,
    MqttError,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    Reader,
    SubAck,
    Subscribe,
    encode,
)
from skerry.wire.mqtt_client import (
    Acknowledged,
    Client,
    Event,
    Granted,
    Opened,
    Received,
    RefusedError,
    SilentError,
)

CONNECT = Connect("d/m", "user", b"token", False, 60)


def sent(client: Client, now: float = 0.0) -> list[Packet]:
    return list(Reader().feed(client.output(now)))


def told(client: Client, *packets: Packet, now: float = 0.0) -> list[Event]:
    return list(client.feed(b"".join(map(encode, packets)), now))


def opened(now: float = 0.0) -> Client:
    client = Client(CONNECT, now)
    client.output(now)
    told(client, ConnAck(), now=now)
    return client


def test_it_begins_with_connect() -> None:
    """And nothing is sent twice."""
    client = Client(CONNECT, 0)
    assert sent(client) == [CONNECT]
    assert sent(client) == []
    assert told(client, ConnAck(0, session_present=True)) == [Opened(True)]


@pytest.mark.parametrize(
    ("code", "reason"), [(4, "bad user name or password"), (5, "not authorized"), (9, "code 9")]
)
def test_a_refusal_is_told_with_its_reason(code: int, reason: str) -> None:
    """The code is kept for whoever decides what to do."""
    with pytest.raises(RefusedError, match=f"refused: {reason}") as caught:
        told(Client(CONNECT, 0), ConnAck(code))
    assert caught.value.code == code


def test_a_message_is_unacknowledged_until_the_server_has_it() -> None:
    """QoS 1 by its id; QoS 0 is nobody's concern."""
    client = opened()
    packet_id = client.publish("t", b"1")
    assert client.publish("t", b"0", qos=0) is None
    assert sent(client) == [Publish("t", b"1", 1, packet_id), Publish("t", b"0")]
    assert [message.payload for message in client.unacknowledged] == [b"1"]
    assert packet_id is not None
    assert told(client, PubAck(packet_id)) == [Acknowledged(packet_id)]
    assert client.unacknowledged == ()


def test_a_subscription_is_answered() -> None:
    """The codes come with the id that asked."""
    client = opened()
    packet_id = client.subscribe(["a", "b"])
    assert sent(client) == [Subscribe(packet_id, (("a", 1), ("b", 1)))]
    assert told(client, SubAck(packet_id, (1, 0x80))) == [Granted(packet_id, (1, 0x80))]


def test_what_is_received_is_acknowledged_when_its_owner_says_so() -> None:
    """Not before; a message of QoS 0 never."""
    client = opened()
    one, other = Publish("t", b"x", 1, 7), Publish("t", b"y")
    assert told(client, one, other) == [Received(one), Received(other)]
    assert sent(client) == []
    client.acknowledge(one)
    client.acknowledge(other)
    assert sent(client) == [PubAck(7)]


def test_ids_in_use_are_not_given_again() -> None:
    """All 65,535 can wait, one more cannot; a free one is found."""
    client = opened()
    for _ in range(65535):
        client.publish("t", b"")
    with pytest.raises(MqttError, match="65535 messages wait"):
        client.publish("t", b"")
    told(client, PubAck(4711))
    assert client.publish("t", b"") == 4711


def test_a_quiet_connection_is_kept_alive() -> None:
    """A ping after half the time, and again after its answer."""
    client = opened()
    assert client.due() == 30
    client.tick(29)
    assert sent(client, 29) == []
    client.tick(30)
    assert sent(client, 30) == [PingReq()]
    assert told(client, PingResp(), now=31) == []
    assert client.due() == 60


def test_a_busy_sender_still_asks_whether_the_server_lives() -> None:
    """Writing alone shows nothing."""
    client = opened()
    client.publish("t", b"")
    client.output(20)
    assert client.due() == 30


def test_a_silent_server_is_given_up() -> None:
    """While opening, and after a ping; anything that comes counts as life."""
    with pytest.raises(SilentError, match="no answer to CONNECT within 30 s"):
        Client(CONNECT, 0).tick(30)
    client = opened()
    client.tick(30)
    told(client, Publish("t"), now=40)
    client.tick(59)
    client.tick(60)
    with pytest.raises(SilentError, match="no answer to PINGREQ within 30 s"):
        client.tick(90)


def test_without_keep_alive_nothing_is_ever_due() -> None:
    """The server has been told so."""
    client = Client(Connect("d", keep_alive_seconds=0), 0)
    told(client, ConnAck())
    assert client.due() == float("inf")


@pytest.mark.parametrize(
    "packet", [PubAck(1), SubAck(1, (1,)), ConnAck(), Connect("x"), Disconnect()]
)
def test_what_nobody_asked_for_is_refused(packet: Packet) -> None:
    """The packet is named."""
    with pytest.raises(MqttError, match=f"sent {type(packet).__name__}, which nobody asked for"):
        told(opened(), packet)


def test_the_first_answer_is_connack() -> None:
    """Nothing else opens a connection."""
    with pytest.raises(MqttError, match="sent PingResp, expected ConnAck"):
        told(Client(CONNECT, 0), PingResp())


def test_the_goodbye_is_the_last_packet() -> None:
    """After what was still to be said."""
    client = opened()
    client.publish("t", b"", qos=0)
    client.disconnect()
    assert sent(client) == [Publish("t"), Disconnect()]
