"""What goes to one client: packet ids, and messages to the device until they are settled.

Invariants
- At most `WINDOW` messages to the device are on their way; each is settled when the client has
  acknowledged it. What is not is given back when the connection ends, and so comes again.
- A client that never acknowledges what else it is told is closed; that has no part in the window.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from skerry.wire.mqtt import Publish
from skerry.wire.topics import c2d_topic, join_properties
from skerry_lab.cloud import Cloud
from skerry_lab.errors import ApiError, LabError
from skerry_lab.identity import Identity
from skerry_lab.messages.model import C2d, Outcome
from skerry_lab.mqtt.ports import Head

WINDOW = 50
MAX_UNACKNOWLEDGED = 1000

_LAST_ID = 65535


class Client(Protocol):
    """The connection that things are delivered to."""

    identity: Identity

    def c2d_qos(self) -> int | None:
        """Return the QoS of messages to the device; None when the client does not take them."""

    def send(self, packet: Publish) -> None:
        """Write a packet with what else is written in this turn."""

    def close(self, reason: str) -> None:
        """End the connection."""


class Delivery:
    """The server's side of packet ids of one connection."""

    def __init__(self, head: Head, client: Client) -> None:
        self._head = head
        self._client = client
        self._sent: dict[int, C2d] = {}
        self._told: set[int] = set()
        self._last_id = 0
        self._is_fetching = False

    def tell(self, topic: str, payload: bytes, qos: int) -> None:
        """Send what does not wait for clients: twins, methods."""
        packet_id = None
        if qos:
            if len(self._told) >= MAX_UNACKNOWLEDGED:
                self._client.close(f"the client leaves {MAX_UNACKNOWLEDGED} packets unacknowledged")
                return
            packet_id = self._new_id()
            self._told.add(packet_id)
        self._client.send(Publish(topic, payload, qos, packet_id))

    def look(self) -> None:
        """Fetch messages to the device, unless that is under way or the window is full."""
        has_room = not self._is_fetching and len(self._sent) < WINDOW
        if has_room and self._client.c2d_qos() is not None:
            self._is_fetching = True
            self._head.spawn(self._fetch())

    def acknowledged(self, packet_id: int) -> None:
        """The client has a packet."""
        self._told.discard(packet_id)
        message = self._sent.pop(packet_id, None)
        if message is not None:
            self._head.spawn(self._settle(message))

    def end(self) -> None:
        """The connection is over: what is on its way comes again."""
        if self._sent:
            self._head.spawn(self._give_back(list(self._sent.values())))
            self._sent.clear()

    async def _fetch(self) -> None:
        try:
            identity, room = self._client.identity, WINDOW - len(self._sent)
            found = await self._head.ado(lambda cloud: cloud.messages.next_c2d(identity, room))
        finally:
            self._is_fetching = False
        qos = self._client.c2d_qos()
        if qos is None:  # it has gone meanwhile, or listens no more
            await self._give_back(found)
            return
        for message in found:
            self._deliver(message, qos)
        if found and not qos:
            self.look()

    def _deliver(self, message: C2d, qos: int) -> None:
        identity = self._client.identity
        bag = join_properties(message.system, message.properties)
        topic = c2d_topic(identity.device_id, bag, identity.module_id)
        if not qos:
            self._client.send(Publish(topic, message.body))
            self._head.spawn(self._settle(message))
            return
        packet_id = self._new_id()
        self._sent[packet_id] = message
        again = message.delivery_count > 1
        self._client.send(Publish(topic, message.body, 1, packet_id, dup=again))

    async def _settle(self, message: C2d) -> None:
        identity = self._client.identity
        try:
            await self._head.ado(
                lambda cloud: cloud.messages.settle(identity, message.lock_token, Outcome.COMPLETE)
            )
        except LabError as error:  # its lock has ended, say: it comes again
            self._head.log.debug("not settled", client=str(identity), reason=str(error))
        self.look()

    async def _give_back(self, messages: Iterable[C2d]) -> None:
        """Free these messages and no others: a newer connection may have some by now."""
        identity = self._client.identity
        await self._head.ado(_abandoning(identity, [one.lock_token for one in messages]))

    def _new_id(self) -> int:
        # There is always a free one, for much fewer can be in use.
        while True:
            self._last_id = self._last_id % _LAST_ID + 1
            if self._last_id not in self._sent and self._last_id not in self._told:
                return self._last_id


def _abandoning(identity: Identity, tokens: list[str]) -> Callable[[Cloud], None]:
    def work(cloud: Cloud) -> None:
        for token in tokens:
            try:
                cloud.messages.settle(identity, token, Outcome.ABANDON)
            except ApiError:
                continue  # its lock has ended already, or its device has

    return work
