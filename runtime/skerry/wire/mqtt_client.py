"""One MQTT connection as its client sees it, without any socket.

Bytes of the server go into `feed`, bytes for it come out of `output`. The owner brings the
connection, the time (monotonic seconds) and the decision when to try again; it calls `tick` when
`due` has come.

Invariants
- QoS 1 both ways: a message is `Acknowledged` when the server has it; one that was received is
  acknowledged only when the owner says so.
- Packet ids are not used again before they are acknowledged.
- A server that does not answer CONNECT or PINGREQ within `patience_seconds` raises `SilentError`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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

_LAST_ID = 65535


class SilentError(MqttError):
    """The server has not answered in time; the connection is of no more use."""


class RefusedError(MqttError):
    """The server does not take the client; `code` is that of the CONNACK."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused: {_REASONS.get(code, f'code {code}')}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Opened:
    """The server has taken the client."""

    session_present: bool


@dataclass(frozen=True, slots=True)
class Granted:
    """The server has answered a subscription, a code per filter."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The server has a message."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Received:
    """A message for the client; with QoS 1 to be acknowledged by `acknowledge`."""

    message: Publish


Event = Opened | Granted | Acknowledged | Received


class Client:
    """A connection from its CONNECT to its end."""

    def __init__(
        self,
        connect: Connect,
        now: float,
        *,
        patience_seconds: float = 30.0,
        max_packet_bytes: int = 1024 * 1024,
    ) -> None:
        self._keep_alive_seconds = connect.keep_alive_seconds
        self._patience_seconds = patience_seconds
        self._reader = Reader(max_packet_bytes)
        self._output: list[bytes] = [encode(connect)]
        self._is_open = False
        self._asked_at: float | None = now
        self._written_at = self._heard_at = now
        self._unacknowledged: dict[int, Publish] = {}
        self._subscribing: set[int] = set()
        self._last_id = 0

    @property
    def unacknowledged(self) -> Sequence[Publish]:
        """Messages that the server may not have, oldest first."""
        return tuple(self._unacknowledged.values())

    def feed(self, data: bytes, now: float) -> Iterator[Event]:
        """Yield what the server's bytes mean; to be read to its end.

        Raises: RefusedError, MqttError for what a server must not send.
        """
        for packet in self._reader.feed(data):
            event = self._event(packet)
            if event is not None:
                yield event
        self._heard_at = now
        if self._is_open:
            self._asked_at = None  # whatever came, the server lives

    def output(self, now: float) -> bytes:
        """Return what has to be sent, and regard it as sent."""
        data = b"".join(self._output)
        if data:
            self._output.clear()
            self._written_at = now
        return data

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> int | None:
        """Send a message; returns its packet id for QoS 1. Raises: MqttError when ids run out."""
        packet_id = self._new_id() if qos else None
        message = Publish(topic, payload, qos, packet_id)
        self._output.append(encode(message))
        if packet_id is not None:
            self._unacknowledged[packet_id] = message
        return packet_id

    def subscribe(self, filters: Sequence[str], *, qos: int = 1) -> int:
        """Ask for topics; returns the packet id of the request."""
        packet_id = self._new_id()
        self._subscribing.add(packet_id)
        self._output.append(encode(Subscribe(packet_id, tuple((text, qos) for text in filters))))
        return packet_id

    def acknowledge(self, message: Publish) -> None:
        """Tell the server that a message has arrived; nothing to tell for QoS 0."""
        if message.packet_id is not None:
            self._output.append(encode(PubAck(message.packet_id)))

    def disconnect(self) -> None:
        """Say goodbye; the connection is closed after the output was sent."""
        self._output.append(encode(Disconnect()))

    def due(self) -> float:
        """Return when `tick` has to be called."""
        if self._asked_at is not None:
            return self._asked_at + self._patience_seconds
        if not self._keep_alive_seconds:
            return float("inf")
        return min(self._written_at, self._heard_at) + self._keep_alive_seconds / 2

    def tick(self, now: float) -> None:
        """Keep the connection alive. Raises: SilentError."""
        if now < self.due():
            return
        if self._asked_at is not None:
            what = "PINGREQ" if self._is_open else "CONNECT"
            raise SilentError(f"no answer to {what} within {self._patience_seconds:g} s")
        self._asked_at = now
        self._output.append(encode(PingReq()))

    def _event(self, packet: Packet) -> Event | None:
        if not self._is_open:
            return self._opened(packet)
        match packet:
            case Publish():
                return Received(packet)
            case PubAck(packet_id) if packet_id in self._unacknowledged:
                del self._unacknowledged[packet_id]
                return Acknowledged(packet_id)
            case SubAck(packet_id, codes) if packet_id in self._subscribing:
                self._subscribing.remove(packet_id)
                return Granted(packet_id, codes)
            case PingResp():
                return None
        raise MqttError(f"the server sent {type(packet).__name__}, which nobody asked for")

    def _opened(self, packet: Packet) -> Opened:
        if not isinstance(packet, ConnAck):
            raise MqttError(f"the server sent {type(packet).__name__}, expected ConnAck")
        if packet.code:
            raise RefusedError(packet.code)
        self._is_open = True
        return Opened(packet.session_present)

    def _new_id(self) -> int:
        for _ in range(_LAST_ID):
            self._last_id = self._last_id % _LAST_ID + 1
            if not (self._last_id in self._unacknowledged or self._last_id in self._subscribing):
                return self._last_id
        raise MqttError(f"{_LAST_ID} messages wait for their acknowledgement")


_REASONS = {
    1: "the server does not speak MQTT 3.1.1",
    2: "the client id is not allowed",
    3: "the server is not available",
    4: "bad user name or password",
    5: "not authorized",
}
