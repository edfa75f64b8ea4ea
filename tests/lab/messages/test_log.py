"""The log of what devices sent: order, origin, retention."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.lab import START, Hosted, memory_cloud
from skerry.heads.model import MAX_MESSAGE_BYTES, Telemetry
from skerry.wire.identity import Identity
from skerry_lab.messages.log import EventLog
from skerry_lab.messages.model import MessageSettings, check_size
from skerry_lab.registry.errors import HubError
from skerry_lab.registry.model import Authentication, AuthType, Module

DEVICE, MODULE = Identity("d1"), Identity("d1", "m1")


def message(body: bytes, identity: Identity = DEVICE) -> Telemetry:
    return Telemetry(identity, {"message-id": "7"}, {"a": "ä/&"}, body)


def log(settings: MessageSettings) -> EventLog:
    _, connection = memory_cloud()
    return EventLog(connection, settings)


def bodies(of: EventLog, after: int = 0) -> list[bytes]:
    return [event.telemetry.body for event in of.read(after, 1000, 1 << 30)]


def test_messages_are_read_in_their_order(hosted: Hosted) -> None:
    """Offsets begin at 1 and grow by one; time and properties are kept."""
    hosted.registry.create_device("d1")
    batch = [message(b"1"), Telemetry(DEVICE, {}, {}, b"\xff")]
    hosted.store.do(lambda cloud: cloud.messages.append(batch))
    hosted.store.do(lambda cloud: cloud.messages.append([]))
    hosted.store.do(lambda cloud: cloud.messages.append([message(b"3")]))
    events = hosted.store.do(lambda cloud: list(cloud.messages.read(0, 10, 1000)))
    assert [event.offset for event in events] == [1, 2, 3]
    assert [event.telemetry for event in events] == [*batch, message(b"3")]
    assert {event.enqueued for event in events} == {START}
    assert hosted.store.do(lambda cloud: cloud.messages.ends()) == (1, 3)


def test_who_sent_it_is_noted_as_it_was_then(hosted: Hosted) -> None:
    """A device that is made anew is another; a module has its own generation."""
    first = hosted.registry.create_device("d1")
    by_authority = Authentication(AuthType.CERTIFICATE_AUTHORITY)
    module = hosted.store.do(lambda c: c.registry.put_module(Module("d1", "m1", by_authority)))
    both = [message(b"1"), message(b"2", MODULE)]
    hosted.store.do(lambda cloud: cloud.messages.append(both))
    hosted.registry.delete_device("d1")
    hosted.store.do(lambda cloud: cloud.messages.append(both))
    events = hosted.store.do(lambda cloud: list(cloud.messages.read(0, 10, 1000)))
    assert [(event.generation_id, event.auth_type) for event in events] == [
        (first.generation_id, "sas"),
        (module.generation_id, "certificateAuthority"),
        ("", ""),
        ("", ""),
    ]


def test_a_page_is_bounded() -> None:
    """By its number of messages and by their bytes; one is always given."""
    found = log(MessageSettings())
    found.append([message(b"x" * 100) for _ in range(10)], START)
    assert len(list(found.read(0, 4, 10_000))) == 4
    assert len(list(found.read(0, 10, 250))) == 3
    assert len(list(found.read(0, 10, 1))) == 1
    assert [event.offset for event in found.read(8, 10, 10_000)] == [9, 10]


def test_the_oldest_go_beyond_the_count() -> None:
    """As many as came; offsets go on, and the newest stays whatever its size."""
    found = log(MessageSettings(keep_messages=3))
    for number in range(5):
        found.append([message(b"%d" % number)], START)
    assert bodies(found) == [b"2", b"3", b"4"]
    assert found.ends() == (3, 5)
    found.append([message(b"%d" % number) for number in range(10, 20)], START)
    assert bodies(found) == [b"17", b"18", b"19"]


def test_the_oldest_go_beyond_the_bytes() -> None:
    """One large message pushes out many small ones; one that is larger than all stays alone."""
    found = log(MessageSettings(keep_bytes=100_000))
    found.append([message(b"s") for _ in range(500)], START)
    found.append([message(b"l" * 90_000)], START)
    assert 1 < len(bodies(found)) < 100
    found.append([message(b"h" * 200_000)], START)
    assert bodies(found) == [b"h" * 200_000]
    found.append([message(b"s")], START)
    assert bodies(found) == [b"s"]


@given(
    st.lists(st.lists(st.integers(0, 3000), max_size=8), max_size=20),
    st.integers(1, 12),
    st.integers(1, 8000),
)
def test_retention_keeps_the_newest(
    batches: list[list[int]], keep_messages: int, keep_bytes: int
) -> None:
    """Whatever comes: a gapless end of all messages, within both bounds but for the last one."""
    found = log(MessageSettings(keep_messages, keep_bytes))
    sent: list[bytes] = []
    for sizes in batches:
        found.append([message(b"x" * size) for size in sizes], START)
        sent += [b"x" * size for size in sizes]
        kept = bodies(found)
        assert kept == sent[len(sent) - len(kept) :]
        assert bool(kept) == bool(sent)
        assert len(kept) <= keep_messages
        assert len(kept) <= 1 or sum(len(body) + 96 for body in kept) <= keep_bytes
        assert found.ends() == ((len(sent) - len(kept) + 1, len(sent)) if sent else (1, 0))


def test_a_restart_goes_on_with_the_offsets(tmp_path: Path) -> None:
    """Nothing about the log is in memory only."""
    for start in (0, 2):
        lab = Hosted(tmp_path)
        lab.store.do(lambda cloud: cloud.messages.append([message(b"a"), message(b"b")]))
        assert lab.store.do(lambda cloud: cloud.messages.ends()) == (1, start + 2)
        lab.store.close()


def test_a_message_may_have_256_kilobytes_with_its_properties() -> None:
    """The limit counts both; a byte more is 413."""
    bag = {"a": "ä"}
    check_size(Telemetry(DEVICE, {}, bag, b"x" * (MAX_MESSAGE_BYTES - 3)))
    with pytest.raises(HubError, match=r"has 262145 bytes .* expected at most 262144") as raised:
        check_size(Telemetry(DEVICE, bag, {}, b"x" * (MAX_MESSAGE_BYTES - 2)))
    assert (raised.value.status, raised.value.code) == (413, "MessageTooLarge")
