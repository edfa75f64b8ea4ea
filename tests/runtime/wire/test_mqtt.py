"""MQTT packets: the standard's examples, round trips, and what it forbids."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.wire.mqtt import (
    ConnAck,
    Connect,
    Disconnect,
    MqttError,
    Packet,
    PingReq,
    PingResp,
    ProtocolLevelError,
    PubAck,
    Publish,
    Reader,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
    encode,
    matches,
)

_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
_topics = st.text(
    st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=40
)
_filters = (
    st.lists(st.sampled_from(["+", "a", "ü b", "$iothub", ""]), min_size=1, max_size=5)
    .map("/".join)
    .filter(bool)
    | st.just("#")
    | st.just("devices/d/#")
)
_ids = st.integers(1, 65535)
_payloads = st.binary(max_size=300)
_publishes = st.builds(Publish, _topics, _payloads, st.just(0), retain=st.booleans()) | st.builds(
    Publish, _topics, _payloads, st.just(1), _ids, st.booleans(), st.booleans()
)
_wills = st.builds(Will, _texts, _payloads, st.integers(0, 2), st.booleans())
_connects = st.builds(
    Connect,
    _texts,
    st.none() | _texts,
    st.none(),
    st.booleans(),
    st.integers(0, 65535),
    st.none() | _wills,
) | st.builds(Connect, _texts, _texts, _payloads)
_packets: st.SearchStrategy[Packet] = st.one_of(
    _publishes,
    _connects,
    st.builds(PubAck, _ids),
    st.builds(ConnAck, st.integers(0, 255), st.booleans()),
    st.builds(
        Subscribe, _ids, st.lists(st.tuples(_filters, st.integers(0, 2)), min_size=1).map(tuple)
    ),
    st.builds(SubAck, _ids, st.lists(st.sampled_from([0, 1, 0x80])).map(tuple)),
    st.builds(Unsubscribe, _ids, st.lists(_filters, min_size=1).map(tuple)),
    st.builds(UnsubAck, _ids),
    st.just(PingReq()),
    st.just(PingResp()),
    st.just(Disconnect()),
)


@given(st.lists(_packets, max_size=5), st.lists(st.integers(0, 2000)))
def test_what_is_encoded_is_read_however_it_is_cut(packets: list[Packet], cuts: list[int]) -> None:
    """Any stream of packets, cut anywhere, gives the same packets."""
    stream = b"".join(map(encode, packets))
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    reader = Reader()
    found = [packet for a, b in pairwise(places) for packet in reader.feed(stream[a:b])]
    assert found == packets
    assert reader.pending_bytes == 0


@given(st.lists(_packets, max_size=3), st.binary(max_size=60), st.integers(1, 7))
def test_garbage_ends_alike_however_it_is_cut(
    packets: list[Packet], tail: bytes, size: int
) -> None:
    """Packets before the garbage are given, and the verdict does not depend on the pieces."""
    stream = b"".join(map(encode, packets)) + tail
    assert read(stream, len(stream) or 1) == read(stream, size)


def read(stream: bytes, size: int) -> tuple[list[Packet], str]:
    """Return the packets and the error of a stream that arrives in pieces."""
    reader = Reader(max_packet_bytes=1000)
    found: list[Packet] = []
    try:
        for start in range(0, len(stream), size):
            found.extend(reader.feed(stream[start : start + size]))
    except MqttError as error:
        return found, str(error)
    return found, ""


def test_connect_has_the_bytes_of_the_standard() -> None:
    """The example of figure 3.6: user, password, will with QoS 1, clean session."""
    packet = Connect("a", "u", b"p", True, 10, Will("w", b"x", 1))
    body = b"\x00\x04MQTT\x04\xce\x00\x0a\x00\x01a\x00\x01w\x00\x01x\x00\x01u\x00\x01p"
    assert encode(packet) == b"\x10" + bytes([len(body)]) + body


def test_the_length_takes_as_many_bytes_as_it_needs() -> None:
    """127 is one byte, 128 two (section 2.2.3)."""
    assert encode(Publish("t", b"x" * 124))[1:2] == b"\x7f"
    assert encode(Publish("t", b"x" * 125))[1:3] == b"\x80\x01"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00\x00", "packet type 0"),
        (b"\xf0\x00", "packet type 15"),
        (b"\x50\x02\x00\x01", "packet type 5"),
        (b"\xc1\x00", "flags 0b0001"),
        (b"\x80\x02\x00\x01", "flags 0b0000"),
        (b"\x82\x02\x00\x01", "without a topic filter"),
        (b"\xa2\x02\x00\x01", "without a topic filter"),
        (b"\x82\x06\x00\x01\x00\x01a\x03", "QoS 3"),
        (b"\x82\x07\x00\x01\x00\x02a#\x01", "topic filter 'a#'"),
        (b"\x82\x08\x00\x01\x00\x03#/a\x01", "topic filter '#/a'"),
        (b"\x36\x05\x00\x01t\x00\x01", "flags 0b0110"),
        (b"\x38\x03\x00\x01t", "flags 0b1000"),
        (b"\x32\x05\x00\x01t\x00\x00", "packet id 0"),
        (b"\x30\x03\x00\x01#", "without wildcards"),
        (b"\x30\x02\x00\x00", "without wildcards"),
        (b"\x30\x03\x00\x01\xff", "not UTF-8"),
        (b"\x30\x03\x00\x01\x00", "holds U.0000"),
        (b"\x30\x03\x00\x05t", "in the middle of a field"),
        (b"\x40\x03\x00\x01\x00", "1 bytes after the end"),
        (b"\x20\x02\x02\x00", "CONNACK are not allowed"),
        (b"\x30\xff\xff\xff\xff\x01", "more than 4 bytes"),
        (b"\x10\x0c\x00\x04MQTT\x04\x01\x00\x3c\x00\x00", "CONNECT are not allowed"),
        (b"\x10\x0c\x00\x04MQTT\x04\x40\x00\x3c\x00\x00", "CONNECT are not allowed"),
        (b"\x10\x0c\x00\x04MQTT\x04\x22\x00\x3c\x00\x00", "a will that is not there"),
        (b"\x10\x0c\x00\x04HTTP\x04\x02\x00\x3c\x00\x00", "protocol 'HTTP'"),
    ],
)
def test_what_the_standard_forbids_is_named(data: bytes, message: str) -> None:
    """Each is refused with what was found."""
    with pytest.raises(MqttError, match=message):
        list(Reader().feed(data))


@pytest.mark.parametrize(
    "start", [b"\x00\x04MQTT\x05", b"\x00\x06MQIsdp\x03"], ids=["MQTT 5", "MQTT 3.1"]
)
def test_another_version_is_told_apart(start: bytes) -> None:
    """The server can answer it with CONNACK 1."""
    body = start + b"\x02\x00\x3c\x00\x00"
    with pytest.raises(ProtocolLevelError, match="expected MQTT level 4"):
        list(Reader().feed(b"\x10" + bytes([len(body)]) + body))


def test_a_packet_beyond_the_limit_is_refused_at_its_head() -> None:
    """The size is known before the body has come."""
    with pytest.raises(MqttError, match="a packet of 1003 bytes, expected at most 1000"):
        list(Reader(max_packet_bytes=1000).feed(b"\x30\xe8\x07"))


@pytest.mark.parametrize(
    ("pattern", "topic", "taken"),
    [
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/b", "a", False),
        ("a/b", "a/b", True),
        ("#", "$iothub/x", False),
        ("+/x", "$iothub/x", False),
        ("$iothub/#", "$iothub/x", True),
        ("a/+/c", "a//c", True),
    ],
)
def test_filters_take_topics_as_section_4_7_says(pattern: str, topic: str, taken: bool) -> None:
    """Examples of the standard."""
    assert matches(pattern, topic) is taken


def test_what_does_not_fit_cannot_be_encoded() -> None:
    """A text longer than its length field can say."""
    with pytest.raises(MqttError, match="expected at most 65535"):
        encode(Publish("t" * 70_000))
