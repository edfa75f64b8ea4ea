"""MQTT packets from a peer: what is read can be written again, and pieces change nothing."""

from skerry.wire.mqtt import Connect, MqttError, Packet, Publish, Reader, Subscribe, Will, encode

_MAX_BYTES = 4096

ALLOWED = (MqttError,)
_SEEDS: tuple[Packet, ...] = (
    Connect("d/m", "h/d/m/?api-version=v", b"sr", False, 60, Will("w", b"x", 1)),
    Publish("devices/d/messages/events/a=1", b"body", 1, 7),
    Subscribe(1, (("$iothub/methods/POST/#", 1), ("+/a/#", 0))),
)
SEEDS = (*map(encode, _SEEDS), b"\x20\x02\x01\x05\x40\x02\x00\x09\xd0\x00\xe0\x00")


def one(data: bytes) -> None:
    """Read the bytes at once and one by one; both give the same packets and the same verdict."""
    whole, problem = _read([data])
    pieces = [data[index : index + 1] for index in range(len(data))]
    found, verdict = _read(pieces)
    assert (found, str(verdict)) == (whole, str(problem))
    again, _ = _read([b"".join(map(encode, whole))])
    assert again == whole
    if problem is not None:
        raise problem


def _read(pieces: list[bytes]) -> tuple[list[Packet], MqttError | None]:
    reader = Reader(_MAX_BYTES)
    found: list[Packet] = []
    try:
        for piece in pieces:
            found.extend(reader.feed(piece))
    except MqttError as error:
        return found, error
    assert reader.pending_bytes <= _MAX_BYTES
    return found, None
