"""Who is connected now. Lives on the server's loop; nothing of it is stored.

A link is one connection of one identity, of whatever protocol. There is at most one of an identity:
a second connection closes the first, as IoT Hub does.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol

from skerry.heads.errors import HeadError
from skerry.wire.identity import Identity


class NotSubscribedError(HeadError):
    """The client is connected and does not take direct methods."""


class Link(Protocol):
    """What the hub asks of a connection; all but `call` return at once."""

    identity: Identity
    expires_at: float | None
    """When its token or certificate ends, in seconds since 1970; None before it is admitted."""

    def desired(self, version: int, patch: Mapping[str, object]) -> None:
        """Tell of changed desired properties, if the client wants to hear of them."""

    def messages_waiting(self) -> None:
        """Fetch and deliver what waits for the client, if it takes messages."""

    def identity_changed(self) -> None:
        """Check whether the client may still be connected, and close if not."""

    async def call(self, name: str, payload: bytes, timeout_seconds: float) -> tuple[int, bytes]:
        """Call a direct method; returns its status and payload.

        Raises: NotSubscribedError, TimeoutError, ConnectionError when the link ends meanwhile.
        """

    def close(self, reason: str) -> None:
        """End the connection."""


class Links:
    """All links, by identity."""

    def __init__(self) -> None:
        self.on_added: Callable[[Identity], None] = lambda identity: None
        """Called when a client has connected."""
        self.on_removed: Callable[[Identity], None] = lambda identity: None
        """Called when a connection has ended, a replaced one too."""
        self._links: dict[Identity, Link] = {}
        self._waiting: defaultdict[Identity, set[asyncio.Future[Link]]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._links)

    def get(self, identity: Identity) -> Link | None:
        """Return the link of an identity that is connected."""
        return self._links.get(identity)

    def identities(self) -> list[Identity]:
        """Return who is connected."""
        return list(self._links)

    def count_devices(self) -> int:
        """Return how many devices are connected; modules do not count."""
        return sum(identity.module_id is None for identity in list(self._links))  # any thread

    def add(self, link: Link) -> None:
        """Take a new link in; the former one of the same identity is closed."""
        former = self._links.get(link.identity)
        self._links[link.identity] = link
        if former is not None:
            former.close("the same identity has connected again")
        self.on_added(link.identity)
        for waiter in self._waiting.pop(link.identity, ()):
            if not waiter.done():
                waiter.set_result(link)

    def remove(self, link: Link) -> None:
        """Forget a link that has ended; a newer one of the same identity stays."""
        if self._links.get(link.identity) is link:
            del self._links[link.identity]
        self.on_removed(link.identity)

    async def wait_for(self, identity: Identity, seconds: float) -> Link | None:
        """Return the link of an identity, waiting for it to connect; None when it does not."""
        found = self._links.get(identity)
        if found is not None or seconds <= 0:
            return found
        waiter: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._waiting[identity].add(waiter)
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            return None
        finally:
            waiters = self._waiting.get(identity)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiting[identity]

    def close(self, reason: str) -> None:
        """End all links."""
        for link in list(self._links.values()):
            link.close(reason)
