"""Messages of clients that the cloud does not take: set aside on disk, so that others go on.

Invariants
- What of a client is aside goes before what of it is queued later: until all of it is sent,
  everything of that client is set aside, in order.
- It is in the store all the time; a restart finds it again.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from skerry.hub.store.model import UPSTREAM, Entry, Outcome, aside, aside_source
from skerry.hub.store.store import Store
from skerry.wire.identity import Identity

_AT_ONCE = 50
_MOST_BYTES = 256 * 1024

Publish = Callable[[Identity, Sequence[Entry]], Awaitable[list[bool]]]
"""Sends messages of a client, and tells for each whether the cloud has it."""


class Aside:
    """What is set aside of all clients; used on the loop, by the pump."""

    def __init__(self, store: Store, publish: Publish, spawn: Callable[[Awaitable[None]], None]):
        self._store = store
        self._publish = publish
        self._spawn = spawn
        self._moving: Counter[Identity] = Counter()
        self._sending: set[Identity] = set()
        found = ((aside_source(each.endpoint), each.length) for each in store.queues())
        self.clients = {Identity.parse(source) for source, length in found if source and length}
        """Of whom something is aside, or about to be."""

    def put(self, identity: Identity, entries: Sequence[Entry]) -> None:
        """Set aside what was handed out of the queue to the cloud."""
        self.clients.add(identity)
        self._moving[identity] += 1
        moved = self._store.move(
            UPSTREAM, [each.position for each in entries], aside(str(identity))
        )
        self._spawn(self._moved(identity, asyncio.wrap_future(moved)))

    def connected(self, identity: Identity) -> None:
        """Send what is aside of a client that the cloud takes now."""
        if identity in self.clients and identity not in self._sending:
            self._sending.add(identity)
            self._spawn(self._send(identity))

    async def _moved(self, identity: Identity, future: "asyncio.Future[None]") -> None:
        await future
        self._moving[identity] -= 1
        self.connected(identity)

    async def _send(self, identity: Identity) -> None:
        endpoint = aside(str(identity))
        try:
            while entries := self._store.take(endpoint, _AT_ONCE, _MOST_BYTES):
                sent = await self._publish(identity, entries)
                have = [e.position for e, is_sent in zip(entries, sent, strict=True) if is_sent]
                lack = [e.position for e, is_sent in zip(entries, sent, strict=True) if not is_sent]
                self._store.give_back(endpoint, lack)
                await asyncio.wrap_future(self._store.done(endpoint, have, Outcome.DELIVERED))
                if lack:
                    return
            if not self._moving[identity]:
                self.clients.discard(identity)
        finally:
            self._sending.discard(identity)
