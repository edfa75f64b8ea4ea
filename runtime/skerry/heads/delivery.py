"""What goes to one client: packet ids, and its messages until they are settled.

Invariants
- At most `WINDOW` messages are on their way; each is settled when the client has acknowledged it,
  all of one turn of the loop together. What is not is given back when the connection ends, and so
  comes again.
- A client that never acknowledges what else it is told is closed; that has no part in the window.
"""

from collections.abc import Mapping
from typing import Protocol

from skerry.base.errors import SkerryError
from skerry.heads.model import Outgoing
from skerry.heads.ports import Head
from skerry.wire.identity import Identity
from skerry.wire.mqtt import Publish, matches

WINDOW = 100
MAX_UNACKNOWLEDGED = 1000

_LAST_ID = 65535


class Client(Protocol):
    """The connection that things are delivered to."""

    identity: Identity

    def taken_filters(self) -> Mapping[str, int] | None:
        """Return its subscriptions; None when no messages can be delivered by them."""

    def send(self, packet: Publish) -> None:
        """Write a packet with what else is written in this turn."""

    def close(self, reason: str) -> None:
        """End the connection."""


class Delivery:
    """The server's side of packet ids of one connection."""

    def __init__(self, head: Head, client: Client) -> None:
        self._head = head
        self._client = client
        self._sent: dict[int, str] = {}
        self._settled: list[str] = []
        self._told: set[int] = set()
        self._last_id = 0
        self._is_fetching = False
        self._has_news = False

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
        """Fetch messages, unless that is under way or the window is full."""
        if self._is_fetching:
            self._has_news = True
        elif len(self._sent) < WINDOW and self._client.taken_filters() is not None:
            self._is_fetching = True
            self._head.spawn(self._fetch())

    def acknowledged(self, packet_id: int) -> None:
        """The client has a packet."""
        self._told.discard(packet_id)
        token = self._sent.pop(packet_id, None)
        if token is not None:
            self._settle(token)

    def end(self) -> None:
        """The connection is over: what is on its way comes again."""
        if self._sent:
            self._head.spawn(
                self._head.backend.give_back(self._client.identity, list(self._sent.values()))
            )
            self._sent.clear()

    async def _fetch(self) -> None:
        self._has_news = False
        identity, filters = self._client.identity, self._client.taken_filters()
        found = []
        try:
            if filters is not None:
                room = WINDOW - len(self._sent)
                found = list(await self._head.backend.take(identity, filters, room))
        finally:
            self._is_fetching = False
        filters = self._client.taken_filters()
        if filters is None:  # it has gone meanwhile, or listens no more
            if found:
                await self._head.backend.give_back(identity, [one.token for one in found])
            return
        granted: dict[str, int] = {}  # topics repeat
        for message in found:
            qos = granted.get(message.topic)
            if qos is None:
                granted[message.topic] = qos = _granted(filters, message.topic)
            self._deliver(message, qos)
        if found or self._has_news:
            self.look()

    def _deliver(self, message: Outgoing, qos: int) -> None:
        if not qos:
            self._client.send(Publish(message.topic, message.payload))
            self._settle(message.token)
            return
        packet_id = self._new_id()
        self._sent[packet_id] = message.token
        packet = Publish(message.topic, message.payload, 1, packet_id, dup=message.again)
        self._client.send(packet)

    def _settle(self, token: str) -> None:
        if not self._settled:
            self._head.spawn(self._settle_all())
        self._settled.append(token)

    async def _settle_all(self) -> None:
        tokens, self._settled = self._settled, []
        try:
            await self._head.backend.settle(self._client.identity, tokens)
        except SkerryError as error:  # they come again
            identity = str(self._client.identity)
            self._head.log.debug("not settled", client=identity, reason=str(error))
        self.look()

    def _new_id(self) -> int:
        # There is always a free one, for much fewer can be in use.
        while True:
            self._last_id = self._last_id % _LAST_ID + 1
            if self._last_id not in self._sent and self._last_id not in self._told:
                return self._last_id


def _granted(filters: Mapping[str, int], topic: str) -> int:
    return max((qos for text, qos in filters.items() if matches(text, topic)), default=0)
