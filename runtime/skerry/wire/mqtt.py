"""MQTT 3.1.1 packets, to and from bytes, without any socket (OASIS standard mqtt-v3.1.1).

Invariants
- A `Reader` gives the same packets however the bytes are cut into pieces, and never keeps more than
  one packet of at most `max_packet_bytes`.
- What the standard forbids raises `MqttError`, after the packets before it were given: reserved
  flags, wildcards in a topic, bytes that are not UTF-8, U+0000, a packet id of 0, wrong lengths.
- QoS 2 can be asked for and is never part of a flow: IoT Hub has none.

`encode(p)` then `Reader().feed(...)` gives `p` again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from skerry.base.errors import SkerryError

MAX_PACKET_BYTES = 268_435_460
PROTOCOL_LEVEL = 4
FAILED_SUBSCRIPTION = 0x80

_MAX_LENGTH_BYTES = 4
_MAX_STRING_BYTES = 0xFFFF
_RESERVED_TWO = 0b0010


class MqttError(SkerryError):
    """Bytes that are not MQTT 3.1.1; the connection they came from has to be closed."""


class ProtocolLevelError(MqttError):
    """A CONNECT of another version of MQTT; the answer is a CONNACK with code 1."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the server publishes when a client goes away without a DISCONNECT."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """The first packet of a client; `keep_alive_seconds` 0 switches the keep-alive off."""

    client_id: str
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    clean_session: bool = True
    keep_alive_seconds: int = 60
    will: Will | None = None


@dataclass(frozen=True, slots=True)
class ConnAck:
    """0 accepted, 1 protocol, 2 client id, 3 not now, 4 bad user name or password, 5 refused."""

    code: int = 0
    session_present: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """A message; `packet_id` is None for QoS 0 and only then."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    packet_id: int | None = None
    retain: bool = False
    dup: bool = False


@dataclass(frozen=True, slots=True)
class PubAck:
    """The receiver of a QoS 1 message has it."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Topic filters with the QoS asked for."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class SubAck:
    """A code per filter: the QoS granted, or `FAILED_SUBSCRIPTION`."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Topic filters to forget."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnsubAck:
    """The answer to an Unsubscribe."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PingReq:
    """A client shows that it lives."""


@dataclass(frozen=True, slots=True)
class PingResp:
    """The answer to a PingReq."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A client ends the connection on purpose; its will is forgotten."""


Packet = (
    Connect | ConnAck | Publish | PubAck | Subscribe | SubAck | Unsubscribe | UnsubAck
    | PingReq | PingResp | Disconnect
)  # fmt: skip


class Reader:
    """Cuts a stream into packets and decodes them."""

    def __init__(self, max_packet_bytes: int = MAX_PACKET_BYTES) -> None:
        self.max_packet_bytes = max_packet_bytes
        """May be changed at any time; holds for packets whose head is read after that."""
        self._rest = bytearray()
        self._needed = 0

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished packet are kept."""
        return len(self._rest)

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield the packets that `data` completes; to be read to its end. Raises: MqttError."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        position, size = 0, len(data)
        while position < size:
            body, end = self._frame(data, position)
            if end > size:
                break
            yield _decode(data[position], data, body, end)
            position = end
        if position < size:
            self._rest += memoryview(data)[position:]
            self._needed = self._frame(self._rest, 0)[1]

    def _frame(self, data: bytes | bytearray, start: int) -> tuple[int, int]:
        """Return where a packet's body begins and ends; without a whole head beyond all data."""
        length = shift = 0
        position = start + 1
        while position < len(data):
            byte = data[position]
            length |= (byte & 0x7F) << shift
            position += 1
            shift += 7
            if not byte & 0x80:
                if position - start + length > self.max_packet_bytes:
                    raise MqttError(
                        f"a packet of {position - start + length} bytes, expected at most "
                        f"{self.max_packet_bytes}"
                    )
                return position, position + length
            if shift == 7 * _MAX_LENGTH_BYTES:
                raise MqttError("the length of a packet takes more than 4 bytes")
        return position, len(data) + 1


class _Body:
    """Reads the parts of one packet's body by offset."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self._data = data
        self._position = position
        self._end = end

    @property
    def is_read(self) -> bool:
        return self._position == self._end

    def take(self, count: int) -> bytes:
        start = self._position
        if start + count > self._end:
            raise MqttError("a packet ends in the middle of a field")
        self._position = start + count
        return self._data[start : start + count]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.take(2))

    def packet_id(self) -> int:
        number = self.number()
        if number == 0:
            raise MqttError("packet id 0, expected 1 to 65535")
        return number

    def binary(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as error:
            raise MqttError(f"a text is not UTF-8: {error.reason}") from error
        if "\0" in text:
            raise MqttError("a text holds U+0000")
        return text

    def rest(self) -> bytes:
        return self.take(self._end - self._position)

    def finish(self) -> None:
        if not self.is_read:
            raise MqttError(f"{self._end - self._position} bytes after the end of a packet")


def _decode(head: int, data: bytes, start: int, end: int) -> Packet:
    if head == _PUBACK and end - start == 2 and (number := data[start] << 8 | data[start + 1]):
        return PubAck(number)  # as many as messages
    kind, flags = head >> 4, head & 0x0F
    body = _Body(data, start, end)
    if kind == _PUBLISH:
        return _publish(flags, body)
    expected = _RESERVED_TWO if kind in (_SUBSCRIBE, _UNSUBSCRIBE) else 0
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise MqttError(f"packet type {kind} is not one that IoT Hub knows")
    if flags != expected:
        raise MqttError(f"flags {flags:#06b} in a packet of type {kind}, expected {expected:#06b}")
    packet = decoder(body)
    body.finish()
    return packet


def _publish(flags: int, body: _Body) -> Publish:
    qos = flags >> 1 & 3
    dup = bool(flags & 8)
    if qos == 3 or (dup and qos == 0):
        raise MqttError(f"flags {flags:#06b} in a PUBLISH are not allowed")
    topic = body.text()
    if not topic or "+" in topic or "#" in topic:
        raise MqttError(f"topic {topic!r}, expected one without wildcards")
    packet_id = body.packet_id() if qos else None
    return Publish(topic, body.rest(), qos, packet_id, bool(flags & 1), dup)


def _connect(body: _Body) -> Connect:
    name, level, flags = body.text(), body.byte(), body.byte()
    if name not in ("MQTT", "MQIsdp"):
        raise MqttError(f"protocol {name!r}, expected 'MQTT'")
    if name != "MQTT" or level != PROTOCOL_LEVEL:
        raise ProtocolLevelError(f"{name} level {level}, expected MQTT level {PROTOCOL_LEVEL}")
    has_user, has_password, has_will = flags & 0x80, flags & 0x40, flags & 0x04
    qos, retain = flags >> 3 & 3, bool(flags & 0x20)
    if flags & 1 or (has_password and not has_user) or qos == 3:
        raise MqttError(f"flags {flags:#010b} in a CONNECT are not allowed")
    if not has_will and (qos or retain):
        raise MqttError(f"flags {flags:#010b} in a CONNECT describe a will that is not there")
    keep_alive_seconds = body.number()
    client_id = body.text()
    will = Will(body.text(), body.binary(), qos, retain) if has_will else None
    username = body.text() if has_user else None
    password = body.binary() if has_password else None
    return Connect(client_id, username, password, bool(flags & 2), keep_alive_seconds, will)


def _connack(body: _Body) -> ConnAck:
    present, code = body.byte(), body.byte()
    if present > 1:
        raise MqttError(f"flags {present:#010b} in a CONNACK are not allowed")
    return ConnAck(code, bool(present))


def _subscribe(body: _Body) -> Subscribe:
    packet_id = body.packet_id()
    filters = []
    while not body.is_read:
        text, qos = _filter(body), body.byte()
        if qos > 2:
            raise MqttError(f"QoS {qos} asked for, expected 0, 1 or 2")
        filters.append((text, qos))
    if not filters:
        raise MqttError("a SUBSCRIBE without a topic filter")
    return Subscribe(packet_id, tuple(filters))


def _unsubscribe(body: _Body) -> Unsubscribe:
    packet_id = body.packet_id()
    filters = []
    while not body.is_read:
        filters.append(_filter(body))
    if not filters:
        raise MqttError("an UNSUBSCRIBE without a topic filter")
    return Unsubscribe(packet_id, tuple(filters))


def _filter(body: _Body) -> str:
    text = body.text()
    levels = text.split("/")
    wild = any(len(level) > 1 and ("#" in level or "+" in level) for level in levels)
    if not text or wild or "#" in levels[:-1]:
        raise MqttError(f"topic filter {text!r} is not one, see section 4.7 of the standard")
    return text


_PUBLISH, _SUBSCRIBE, _UNSUBSCRIBE = 3, 8, 10
_PUBACK = 0x40
_DECODERS: dict[int, Callable[[_Body], Packet]] = {
    1: _connect,
    2: _connack,
    4: lambda body: PubAck(body.packet_id()),
    _SUBSCRIBE: _subscribe,
    9: lambda body: SubAck(body.packet_id(), tuple(body.rest())),
    _UNSUBSCRIBE: _unsubscribe,
    11: lambda body: UnsubAck(body.packet_id()),
    12: lambda body: PingReq(),
    13: lambda body: PingResp(),
    14: lambda body: Disconnect(),
}


def encode(packet: Packet) -> bytes:
    """Return the bytes of a packet. Raises: MqttError for a text or packet that is too long."""
    match packet:
        case Publish():
            return _encode_publish(packet)
        case PubAck(packet_id):
            return b"\x40\x02" + packet_id.to_bytes(2)
        case Connect():
            return _encode_connect(packet)
        case ConnAck(code, present):
            return bytes((0x20, 2, present, code))
        case Subscribe(packet_id, filters):
            parts = b"".join(_text(text) + bytes((qos,)) for text, qos in filters)
            return _packet(0x82, packet_id.to_bytes(2) + parts)
        case SubAck(packet_id, codes):
            return _packet(0x90, packet_id.to_bytes(2) + bytes(codes))
        case Unsubscribe(packet_id, names):
            return _packet(0xA2, packet_id.to_bytes(2) + b"".join(map(_text, names)))
        case UnsubAck(packet_id):
            return b"\xb0\x02" + packet_id.to_bytes(2)
        case PingReq():
            return b"\xc0\x00"
        case PingResp():
            return b"\xd0\x00"
        case Disconnect():
            return b"\xe0\x00"


def matches(pattern: str, topic: str) -> bool:
    """Tell whether a topic filter takes a topic (section 4.7: `+` a level, `#` all that follow)."""
    wanted, levels = pattern.split("/"), topic.split("/")
    if levels[0].startswith("$") and wanted[0] in ("+", "#"):
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


def _encode_publish(packet: Publish) -> bytes:
    head = 0x30 | packet.dup << 3 | packet.qos << 1 | packet.retain
    number = b"" if packet.packet_id is None else packet.packet_id.to_bytes(2)
    return _packet(head, _text(packet.topic) + number + packet.payload)


def _encode_connect(packet: Connect) -> bytes:
    flags = packet.clean_session << 1
    tail = _text(packet.client_id)
    if packet.will is not None:
        flags |= 0x04 | packet.will.qos << 3 | packet.will.retain << 5
        tail += _text(packet.will.topic) + _binary(packet.will.payload)
    if packet.username is not None:
        flags |= 0x80
        tail += _text(packet.username)
    if packet.password is not None:
        flags |= 0x40
        tail += _binary(packet.password)
    head = b"\x00\x04MQTT" + bytes((PROTOCOL_LEVEL, flags))
    return _packet(0x10, head + packet.keep_alive_seconds.to_bytes(2) + tail)


def _packet(head: int, body: bytes) -> bytes:
    length = len(body)
    if length + 5 > MAX_PACKET_BYTES:
        raise MqttError(f"a packet of {length} bytes, MQTT has room for {MAX_PACKET_BYTES - 5}")
    digits = bytearray((head,))
    while length > 0x7F:
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    digits.append(length)
    return bytes(digits) + body


def _text(text: str) -> bytes:
    return _binary(text.encode())


def _binary(data: bytes) -> bytes:
    if len(data) > _MAX_STRING_BYTES:
        raise MqttError(f"a field of {len(data)} bytes, expected at most {_MAX_STRING_BYTES}")
    return len(data).to_bytes(2) + data
