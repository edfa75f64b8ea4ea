"""Messages to devices under any order of events: each ends once, and none is lost."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as States
from hypothesis.stateful import (
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from harness.lab import SetClock, memory_cloud
from skerry.wire.identity import Identity
from skerry_lab.messages.model import Ack, C2d, End, Outcome, Outgoing
from skerry_lab.messages.records import RecordQueue
from skerry_lab.registry.errors import HubError
from skerry_lab.registry.model import Device

DEVICE = Identity("d1")


def refusal(work: Callable[[], object]) -> int | None:
    """Return the status of a refusal."""
    try:
        work()
    except HubError as error:
        return error.status
    return None


class C2dMachine(RuleBasedStateMachine):
    """A device's queue, beside a model: the messages alive, those locked, those ended."""

    received = States("received")

    @initialize()
    def start(self) -> None:
        self.cloud, _ = memory_cloud()
        assert isinstance(self.cloud.clock, SetClock)
        self.clock = self.cloud.clock
        keys = self.cloud.registry.fresh_keys()
        self.cloud.registry.put_device(Device(DEVICE.device_id, keys))
        self.messages = self.cloud.messages
        self.count = 0
        self.alive: list[str] = []
        self.ended: dict[str, str] = {}
        self.held: dict[str, C2d] = {}
        self.deliveries: Counter[str] = Counter()

    @rule(seconds=st.sampled_from([5, 90, 3600]))
    def send(self, seconds: int) -> None:
        expires = self.clock.now() + timedelta(seconds=seconds)
        message_id = f"m{self.count}"
        self.count += 1
        wanted = Outgoing(DEVICE, b"x", message_id=message_id, ack=Ack.FULL, expires=expires)
        if refusal(lambda: self.messages.send(wanted)) is None:
            self.alive.append(message_id)
        else:
            assert self.messages.depth(DEVICE) == 50

    @rule(target=received, limit=st.integers(1, 4))
    def receive(self, limit: int) -> object:
        found = self.messages.next_c2d(DEVICE, limit)
        for message in found:
            assert message.message_id in self.alive
            assert message.message_id not in self.ended, "delivered after its end"
            self.deliveries[message.message_id] += 1
            assert message.delivery_count == self.deliveries[message.message_id] <= 10
            assert message.expires > self.clock.now()
            former = self.held.get(message.message_id)
            assert former is None or former.locked_until <= self.clock.now(), "locked by another"
            self.held[message.message_id] = message
        assert [m.sequence for m in found] == sorted(m.sequence for m in found)
        return multiple(*found)

    @rule(message=consumes(received), outcome=st.sampled_from(Outcome))
    def settle(self, message: C2d, outcome: Outcome) -> None:
        holds = (
            self.held.get(message.message_id) is message and message.locked_until > self.clock.now()
        )
        refused = refusal(lambda: self.messages.settle(DEVICE, message.lock_token, outcome))
        assert refused == (None if holds else 412)
        if refused:
            return
        del self.held[message.message_id]
        ends = {Outcome.COMPLETE: End.SUCCESS, Outcome.REJECT: End.REJECTED}
        if outcome in ends:
            self.end(message.message_id, ends[outcome])

    @rule()
    def release(self) -> None:
        self.messages.release(DEVICE)
        self.held.clear()

    @rule(times=st.integers(1, 9))
    def reconnect(self, times: int) -> None:
        """A link that comes back gets all that has not ended, and loses it again."""
        for _ in range(times):
            self.release()
            self.all_is_accounted_for()
            self.receive(100)
            self.all_is_accounted_for()
            assert list(self.held) == self.alive, "a message is not delivered any more"
        self.release()

    @rule(seconds=st.sampled_from([1, 30, 60, 61]))
    def wait(self, seconds: int) -> None:
        self.clock.move(seconds)

    @rule()
    def tidy(self) -> None:
        self.messages.tidy()

    @rule()
    def purge(self) -> None:
        assert self.messages.purge("d1") <= len(self.alive)
        self.held.clear()

    def end(self, message_id: str, end: End) -> None:
        assert message_id not in self.ended
        self.ended[message_id] = end.value

    @invariant()
    def all_is_accounted_for(self) -> None:
        if not hasattr(self, "messages"):
            return
        now = self.clock.now()
        for record in self.messages.records.take(RecordQueue.FEEDBACK, 1000, "t", now):
            message_id, status = str(record["originalMessageId"]), str(record["statusCode"])
            assert message_id in self.alive
            assert self.ended.setdefault(message_id, status) == status
            self.alive.remove(message_id)
            self.held.pop(message_id, None)
        self.messages.records.delete(RecordQueue.FEEDBACK, "t", now)
        assert self.messages.depth(DEVICE) == len(self.alive)
        assert not set(self.alive) & set(self.ended)


C2dMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_every_message_ends_once = C2dMachine.TestCase
