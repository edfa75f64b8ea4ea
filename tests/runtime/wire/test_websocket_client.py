"""A WebSocket's client, beside a server of wsproto."""

import hashlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Request

from skerry.wire.websocket_client import WebSocketClient, WebSocketError

KEY = b64encode(b"k" * 16).decode()
ACCEPTED = b64encode(
    hashlib.sha1(
        f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False
    ).digest()
).decode()
HEAD = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPTED}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def random(size: int) -> bytes:
    """Return what is not random at all."""
    return b"k" * size


def opened() -> tuple[WebSocketClient, WSConnection]:
    """Return both ends of a WebSocket."""
    client, server = WebSocketClient("hub.example", random), WSConnection(ConnectionType.SERVER)
    server.receive_data(client.request())
    asked = next(iter(server.events()))
    assert isinstance(asked, Request)
    assert (asked.host, asked.target) == ("hub.example", "/$iothub/websocket")
    assert asked.subprotocols == ["mqtt"]
    assert list(client.feed(server.send(AcceptConnection(subprotocol="mqtt")))) == []
    assert client.is_open
    return client, server


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 7))
def test_bytes_go_both_ways(messages: list[bytes], step: int) -> None:
    """In frames of any size, arriving in pieces of any size."""
    client, server = opened()
    for message in messages:
        server.receive_data(client.message(message))
    there = b"".join(bytes(e.data) for e in server.events() if isinstance(e, BytesMessage))
    assert there == b"".join(messages)
    sent = b"".join(server.send(BytesMessage(data=message)) for message in messages)
    pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
    assert b"".join(b for piece in pieces for b in client.feed(piece)) == b"".join(messages)


@pytest.mark.parametrize("size", [125, 126, 65535, 65536, 200_000])
def test_every_form_of_length_is_read_and_written(size: int) -> None:
    """One byte, two and eight."""
    client, server = opened()
    server.receive_data(client.message(b"x" * size))
    parts = [e.data for e in server.events() if isinstance(e, BytesMessage)]
    assert sum(map(len, parts)) == size
    assert b"".join(client.feed(server.send(BytesMessage(data=b"y" * size)))) == b"y" * size


def test_a_ping_is_answered() -> None:
    """With what it carries."""
    client, server = opened()
    assert list(client.feed(server.send(Ping(payload=b"there?")))) == []
    server.receive_data(client.replies())
    assert [type(event).__name__ for event in server.events()] == ["Pong"]
    assert client.replies() == b""


def test_a_close_is_answered_and_ends_it() -> None:
    """What comes after it is not looked at."""
    client, server = opened()
    assert list(client.feed(server.send(CloseConnection(code=1001)) + b"\xff")) == []
    assert client.is_ended
    server.receive_data(client.replies())
    (closed,) = server.events()
    assert isinstance(closed, CloseConnection)
    assert closed.code == 1001


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (HEAD.replace("101", "403"), "the server answers '403 Switching Protocols', expected 101"),
        (HEAD.replace("HTTP/1.1", "SMTP"), "expected 101"),
        (HEAD.replace("mqtt", "amqp"), "does not speak MQTT over WebSocket"),
        (HEAD.replace(ACCEPTED, "x"), "accepts another WebSocket than was asked for"),
        ("x" * 20_000, "the server does not answer in HTTP"),
    ],
)
def test_an_answer_that_is_none_is_told(answer: str, message: str) -> None:
    """With what it says."""
    with pytest.raises(WebSocketError, match=message):
        list(WebSocketClient("hub.example", random).feed(answer.encode()))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"\x83\x00", "frame of the unknown kind 3"),
        (b"\x81\x00", "not for MQTT"),
        (b"\xc2\x00", "not for MQTT"),
        (b"\x82\x80", "not for MQTT"),
        (b"\x89\x7e", "control frame that is too long"),
        (b"\x09\x00", "control frame that is too long"),
        (b"\x82\x7f" + b"\x00" * 4 + b"\xff" * 4, "frame of 4294967295 bytes"),
    ],
)
def test_a_frame_that_is_not_for_mqtt_is_refused(frame: bytes, message: str) -> None:
    """Nothing of it is held."""
    client, _ = opened()
    with pytest.raises(WebSocketError, match=message):
        list(client.feed(frame))
