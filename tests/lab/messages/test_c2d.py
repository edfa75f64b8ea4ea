"""Messages to devices: queue, locks, ends and feedback."""

from datetime import timedelta

import pytest

from harness.lab import START, Hosted
from skerry.wire.identity import Identity
from skerry_lab.messages.model import Ack, C2d, End, Outcome, Outgoing
from skerry_lab.messages.records import RecordQueue
from skerry_lab.outbox import Kind, Notice
from skerry_lab.registry.errors import HubError
from skerry_lab.registry.model import Module

DEVICE, MODULE = Identity("d1"), Identity("d1", "m1")


@pytest.fixture
def lab(hosted: Hosted) -> Hosted:
    """A lab with one device that has a module."""
    hosted.registry.create_device("d1")
    keys = hosted.registry.device("d1").authentication
    hosted.store.do(lambda cloud: cloud.registry.put_module(Module("d1", "m1", keys)))
    return hosted


def send(lab: Hosted, body: bytes = b"x", ack: Ack = Ack.FULL, **more: object) -> str:
    wanted = Outgoing(DEVICE, body, ack=ack, **more)  # type: ignore[arg-type]
    return lab.store.do(lambda cloud: cloud.messages.send(wanted)).message_id


def receive(lab: Hosted, identity: Identity = DEVICE, limit: int = 10) -> list[C2d]:
    return lab.store.do(lambda cloud: cloud.messages.next_c2d(identity, limit))


def settle(lab: Hosted, message: C2d, outcome: Outcome = Outcome.COMPLETE) -> None:
    token = message.lock_token
    lab.store.do(lambda cloud: cloud.messages.settle(message.identity, token, outcome))


def depth(lab: Hosted) -> int:
    return lab.store.do(lambda cloud: cloud.messages.depth(DEVICE))


def feedback(lab: Hosted) -> list[tuple[object, object]]:
    """Return (message id, status) of the feedback there is, and remove it."""

    def work(cloud: object) -> list[dict[str, object]]:
        records = lab.store.cloud.messages.records
        found = records.take(RecordQueue.FEEDBACK, 100, "t", lab.clock.now())
        records.delete(RecordQueue.FEEDBACK, "t", lab.clock.now())
        return found

    found = lab.store.do(work)
    return [(record["originalMessageId"], record["statusCode"]) for record in found]


def test_messages_come_in_their_order_and_locked(lab: Hosted) -> None:
    """With all that a device is told; what is locked does not come again."""
    wanted = Outgoing(DEVICE, b"\x00b", {"correlation-id": "c"}, {"k": "v"}, "id-1", Ack.POSITIVE)
    lab.store.do(lambda cloud: cloud.messages.send(wanted))
    made_up = send(lab)
    first, second = receive(lab)
    assert receive(lab) == []
    assert (first.message_id, first.body, first.properties) == ("id-1", b"\x00b", {"k": "v"})
    assert first.system == {
        "correlation-id": "c",
        "message-id": "id-1",
        "to": "/devices/d1/messages/devicebound",
        "expiry-time-utc": "2026-11-23T13:00:00.000000Z",
        "ack": "positive",
    }
    assert (first.delivery_count, first.locked_until) == (1, START + timedelta(seconds=60))
    assert (second.message_id, len(made_up)) == (made_up, 32)
    assert first.sequence < second.sequence
    assert first.lock_token != second.lock_token


def test_devices_and_modules_have_queues_of_their_own(lab: Hosted) -> None:
    """A token of one is worth nothing to the other."""
    lab.store.do(lambda cloud: cloud.messages.send(Outgoing(MODULE, b"m")))
    assert receive(lab) == []
    [message] = receive(lab, MODULE)
    assert message.system["to"] == "/devices/d1/modules/m1/messages/devicebound"
    with pytest.raises(HubError, match="no message is locked by"):
        lab.store.do(lambda c: c.messages.settle(DEVICE, message.lock_token, Outcome.COMPLETE))
    settle(lab, message)


def test_the_link_is_told(lab: Hosted) -> None:
    """In the transaction of the message, and when an abandoned one is free again."""
    taken = lab.store.do(lambda cloud: cloud.outbox.take())
    send(lab)
    [message] = receive(lab)
    settle(lab, message, Outcome.ABANDON)
    assert lab.store.do(lambda cloud: cloud.outbox.take()) == [Notice(Kind.C2D, DEVICE)] * 2
    assert Kind.C2D not in [notice.kind for notice in taken]


@pytest.mark.parametrize(
    ("ack", "heard"),
    [
        (Ack.NONE, set()),
        (Ack.POSITIVE, {End.SUCCESS}),
        (Ack.NEGATIVE, {End.REJECTED, End.EXPIRED, End.TOO_OFTEN, End.PURGED}),
        (Ack.FULL, set(End)),
    ],
)
def test_each_end_is_told_to_who_asked(lab: Hosted, ack: Ack, heard: set[End]) -> None:
    """Completed, rejected, delivered ten times, expired, purged: each once, or never."""
    ids: dict[str, End] = {}
    for end in (End.SUCCESS, End.REJECTED, End.TOO_OFTEN):
        ids[send(lab, ack=ack)] = end
        for _ in range(10):
            for message in receive(lab):
                outcomes = {End.SUCCESS: Outcome.COMPLETE, End.REJECTED: Outcome.REJECT}
                settle(lab, message, outcomes.get(end, Outcome.ABANDON))
    ids[send(lab, ack=ack, expires=lab.clock.now() + timedelta(seconds=5))] = End.EXPIRED
    lab.clock.move(5)
    lab.store.do(lambda cloud: cloud.messages.tidy())
    ids[send(lab, ack=ack)] = End.PURGED
    assert lab.store.do(lambda cloud: cloud.messages.purge("d1")) == 1
    assert depth(lab) == 0
    assert feedback(lab) == [(one, end.value) for one, end in ids.items() if end in heard]


def test_a_lock_ends(lab: Hosted) -> None:
    """After a minute the message comes again and the old token is worth nothing."""
    send(lab)
    [first] = receive(lab)
    lab.clock.move(60)
    with pytest.raises(HubError, match="a lock lasts 60 s") as raised:
        settle(lab, first)
    assert (raised.value.status, raised.value.code) == (412, "DeviceMessageLockLost")
    [again] = receive(lab)
    assert (again.message_id, again.delivery_count) == (first.message_id, 2)
    with pytest.raises(HubError):
        settle(lab, first)
    settle(lab, again)
    with pytest.raises(HubError):
        settle(lab, again)
    assert feedback(lab) == [(first.message_id, "Success")]


def test_a_lost_link_gives_all_back(lab: Hosted) -> None:
    """In the old order, before what was sent meanwhile; a link hears of locks that timed out."""
    ids = [send(lab), send(lab)]
    receive(lab)
    ids.append(send(lab))
    lab.store.do(lambda cloud: cloud.messages.release(DEVICE))
    assert [message.message_id for message in receive(lab)] == ids
    lab.store.do(lambda cloud: cloud.outbox.take())
    lab.store.do(lambda cloud: cloud.messages.tidy())
    assert lab.store.do(lambda cloud: cloud.outbox.take()) == []
    lab.clock.move(60)
    lab.store.do(lambda cloud: cloud.messages.tidy())
    assert lab.store.do(lambda cloud: cloud.outbox.take()) == [Notice(Kind.C2D, DEVICE)]


def test_what_expires_while_locked_can_still_be_completed(lab: Hosted) -> None:
    """Who has it may finish; who lets the lock end does not get it again."""
    ids = [send(lab, expires=START + timedelta(seconds=5)) for _ in range(2)]
    first, _ = receive(lab)
    lab.clock.move(10)
    settle(lab, first)
    lab.clock.move(50)
    assert receive(lab) == []
    assert feedback(lab) == [(ids[0], "Success"), (ids[1], "Expired")]


def test_fifty_messages_may_wait(lab: Hosted) -> None:
    """The next is 403, until one has ended; what has expired does not count."""
    for _ in range(49):
        send(lab)
    send(lab, expires=START + timedelta(seconds=5))
    with pytest.raises(HubError, match="cannot exceed 50") as raised:
        send(lab)
    assert (raised.value.status, raised.value.code) == (403, "DeviceMaximumQueueDepthExceeded")
    lab.clock.move(5)
    send(lab)
    assert depth(lab) == 50


@pytest.mark.parametrize(
    ("wanted", "status", "message"),
    [
        (Outgoing(Identity("d2"), b""), 404, "Device d2 not registered"),
        (Outgoing(Identity("d1", "m2"), b""), 404, "Module m2 not found"),
        (Outgoing(DEVICE, b"x" * 65_537), 413, "has 65537 bytes"),
        (Outgoing(DEVICE, b"", expires=START), 400, "expected within 48 h from now"),
        (Outgoing(DEVICE, b"", expires=START + timedelta(hours=49)), 400, "within 48 h"),
    ],
)
def test_what_cannot_be_sent(lab: Hosted, wanted: Outgoing, status: int, message: str) -> None:
    """Nobody, too large, in the past, too far ahead: nothing is queued."""
    with pytest.raises(HubError, match=message) as raised:
        lab.store.do(lambda cloud: cloud.messages.send(wanted))
    assert raised.value.status == status
    assert depth(lab) == 0


def test_messages_go_with_their_device(lab: Hosted) -> None:
    """A device or module that is made anew gets nothing that was meant for the former."""
    send(lab)
    lab.store.do(lambda cloud: cloud.messages.send(Outgoing(MODULE, b"m")))
    keys = lab.registry.device("d1").authentication
    lab.store.do(lambda cloud: cloud.registry.delete_module("d1", "m1"))
    lab.store.do(lambda cloud: cloud.registry.put_module(Module("d1", "m1", keys)))
    assert receive(lab, MODULE) == []
    lab.registry.update_device(lab.registry.device("d1"))
    assert depth(lab) == 1
    lab.registry.delete_device("d1")
    lab.registry.create_device("d1")
    assert depth(lab) == 0


def test_feedback_is_taken_under_a_lock(lab: Hosted) -> None:
    """Given back by its token or by time, ten times at most, and forgotten after an hour."""
    records = lab.store.cloud.messages.records

    def take(token: str) -> int:
        found = lab.store.do(
            lambda _: records.take(RecordQueue.FEEDBACK, 10, token, lab.clock.now())
        )
        return len(found)

    def done(token: str) -> bool:
        return lab.store.do(lambda _: records.delete(RecordQueue.FEEDBACK, token, lab.clock.now()))

    send(lab)
    settle(lab, receive(lab)[0])
    assert [take("a"), take("b")] == [1, 0]
    lab.clock.move(60)
    assert [done("a"), take("c")] == [False, 1]
    assert lab.store.do(lambda _: records.abandon(RecordQueue.FEEDBACK, "c", lab.clock.now()))
    for number in range(8):
        assert take(f"n{number}") == 1
        lab.clock.move(60)
    assert take("last") == 0
    send(lab)
    settle(lab, receive(lab)[0])
    lab.clock.move(3601)
    assert take("late") == 0
