"""MQTT over WebSocket on the HTTPS port, frame by frame."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)

from harness.lab import make_token
from skerry.wire.mqtt import ConnAck, Connect, Packet, PubAck, Publish, Reader, encode
from skerry.wire.topics import events_topic, user_name
from skerry_lab.server import Lab


class Socket:
    """One WebSocket of a client."""

    def __init__(self, lab: Lab, sock: ssl.SSLSocket) -> None:
        self.lab, self.sock = lab, sock
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._reader = Reader()
        self._come: list[Event] = []

    def ask(self, path: str = "/$iothub/websocket", protocol: str = "mqtt") -> Event | None:
        """Ask for the WebSocket and return the answer."""
        self.send(Request(host=self.lab.hub_name, target=path, subprotocols=[protocol]))
        return self.event()

    def send(self, *events: Event) -> None:
        self.sock.sendall(b"".join(self._wire.send(event) for event in events))

    def event(self) -> Event | None:
        """Return what comes next; None at the end."""
        while not self._come:
            try:
                data = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLEOFError):
                return None
            if not data:
                return None
            self._wire.receive_data(data)
            self._come = list(self._wire.events())
        return self._come.pop(0)

    def connect(self, *more: Packet) -> bytes:
        """Return CONNECT of the device `d1`, and what else is sent with it."""
        key = self.lab.registry.device("d1").authentication.keys[0]
        expiry = self.lab.clock.now().timestamp() + 60
        token = make_token(f"{self.lab.hub_name}/devices/d1", key, expiry)
        name = user_name(self.lab.hub_name, "d1", "2021-04-12")
        return b"".join(map(encode, (Connect("d1", name, token.encode()), *more)))

    def packet(self) -> Packet:
        event = self.event()
        assert isinstance(event, BytesMessage), event
        [packet] = self._reader.feed(bytes(event.data))
        return packet


@contextmanager
def opened(lab: Lab) -> Iterator[Socket]:
    context = ssl.create_default_context(cadata=lab.root_pem)
    with (
        socket.create_connection(("127.0.0.1", lab.https_port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        yield Socket(lab, sock)


@pytest.fixture
def client(lab: Lab) -> Iterator[Socket]:
    lab.registry.create_device("d1", edge=False)
    with opened(lab) as made:
        yield made


@pytest.mark.parametrize("path", ["/$iothub/websocket", "/any/other"])
def test_any_path_is_taken(path: str, client: Socket) -> None:
    """As upstream's hub does, with the subprotocol `mqtt`."""
    answer = client.ask(path)
    assert isinstance(answer, AcceptConnection)
    assert answer.subprotocol == "mqtt"


def test_another_subprotocol_is_refused(client: Socket) -> None:
    """With 400."""
    answer = client.ask(protocol="AMQPWSB10")
    assert isinstance(answer, RejectConnection)
    assert answer.status_code == 400


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_packets_come_in_frames_of_any_size(step: int, client: Socket) -> None:
    """Cut anywhere, or all in one."""
    client.ask()
    data = client.connect(Publish(events_topic("d1"), b"x", 1, 3))
    parts = [data[start : start + step] for start in range(0, len(data), step)]
    client.send(*(BytesMessage(data=part) for part in parts))
    assert [client.packet(), client.packet()] == [ConnAck(), PubAck(3)]


def test_a_ping_is_answered(client: Socket) -> None:
    """With its own text."""
    client.ask()
    client.send(Ping(payload=b"there?"))
    answer = client.event()
    assert isinstance(answer, Pong)
    assert bytes(answer.payload) == b"there?"


def test_a_goodbye_is_answered(client: Socket) -> None:
    """Then the connection ends."""
    client.ask()
    client.send(CloseConnection(code=1000))
    assert isinstance(client.event(), CloseConnection)
    assert client.event() is None


def test_text_ends_only_its_own_connection(lab: Lab, client: Socket) -> None:
    """MQTT is binary; another client goes on."""
    client.ask()
    with opened(lab) as other:
        other.ask()
        other.send(TextMessage(data="hello"))
        assert other.event() is None
    client.send(BytesMessage(data=client.connect()))
    assert client.packet() == ConnAck()


def test_frames_that_are_none_end_only_their_own_connection(lab: Lab, client: Socket) -> None:
    """Reserved bits, no mask."""
    client.ask()
    with opened(lab) as other:
        other.ask()
        other.sock.sendall(b"\xff\x7f" + b"\xff" * 20)
        assert not isinstance(other.event(), BytesMessage)
    client.send(BytesMessage(data=client.connect()))
    assert client.packet() == ConnAck()
