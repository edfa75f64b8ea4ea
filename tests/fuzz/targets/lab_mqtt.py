"""The hub's side of one connection: bytes of a client whose token holds, and one of nobody.

The first byte of an input tells whether CONNECT was sent before, and in how many pieces it comes.
"""

from functools import cache

from harness.lab import memory_cloud
from harness.mqtt_head import DirectClient, DirectHead
from skerry.heads.links import Links
from skerry.wire.mqtt import ConnAck, PubAck, Publish, Subscribe, encode
from skerry.wire.topics import (
    DESIRED,
    METHODS,
    TWIN_RESPONSES,
    events_topic,
    method_response_topic,
    reported_topic,
    twin_get_topic,
)

ALLOWED = ()
_C2D = "devices/d1/messages/devicebound/#"
_ALL = Subscribe(1, tuple((text, 1) for text in (_C2D, DESIRED, METHODS, TWIN_RESPONSES)))
SEEDS = [
    b"\x01" + encode(_ALL) + encode(Publish(twin_get_topic("1"), b" ", 1, 2)),
    b"\x03" + encode(_ALL) + encode(Publish(reported_topic("2"), b'{"a": {"b": 1.5}}', 1, 2)),
    b"\x05" + encode(Publish(events_topic("d1", None, {"$.ct": "a", "b": "c"}), b"x", 1, 2)),
    b"\x07" + encode(Publish(method_response_topic(200, "1"), b"{}")) + encode(PubAck(1)),
    b"\x00\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00",
]


@cache
def _head() -> DirectHead:
    head = DirectHead(*memory_cloud())
    for device_id in ("d1", "d2"):
        head.register(device_id)
    return head


def one(data: bytes) -> None:
    """Feed the bytes; whatever they are, another device is served and nothing speaks for it."""
    head = _head()
    head.links, head.held = Links(), set()
    head.database.execute("BEGIN")
    try:
        _talk(head, data[0] if data else 0, data[1:])
    finally:
        head.under_way.clear()
        head.batch.clear()
        head.database.execute("ROLLBACK")


def _talk(head: DirectHead, how: int, data: bytes) -> None:
    other, client = DirectClient(head, "d2"), DirectClient(head, "d1")
    assert other.connect() == [ConnAck()]
    if how & 1:
        assert client.connect(clean_session=bool(how & 2)) == [ConnAck()]
    step = max(1, len(data) // (1 + (how >> 2)))
    for start in range(0, len(data), step):
        client.connection.received(data[start : start + step], 0.0)
        assert len(head.under_way) <= 200
        client.answers()
    other.send(Publish(events_topic("d2"), b"mine", 1, 1))
    assert other.answers() == [PubAck(1)]
    found = list(head.cloud.messages.read(0, 10_000, 1 << 30))
    mine = [event for event in found if event.telemetry.identity == other.identity]
    assert [event.telemetry.body for event in mine] == [b"mine"]
