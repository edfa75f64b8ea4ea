"""For whom the hub is connected to the cloud, and what the cloud says to them.

A connection is opened for a client when it connects to the hub, when it is first sent for, or when
messages of it are queued, and stays: there are as many as the scope has clients. To be used on the
loop.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from skerry.heads.links import Links, NotSubscribedError
from skerry.heads.model import Outgoing
from skerry.hub.cloud.link import CloudLink
from skerry.hub.figures import CLOUD, Figures
from skerry.wire.identity import Identity
from skerry.wire.topics import c2d_topic, decode_properties

_METHOD_SECONDS = 330.0
_SETTLE_SECONDS = 20.0
_NOT_FOUND, _TIMEOUT = 404, 504


@dataclass
class _Message:
    outgoing: Outgoing
    settled: "asyncio.Future[bool]"


class CloudClients:
    """All connections to the cloud; a `Told` for each of them."""

    def __init__(
        self,
        links: Links,
        connect: Callable[[Identity], CloudLink],
        own_call: Callable[[str, bytes], Awaitable[tuple[int, bytes]]],
        figures: Figures,
    ) -> None:
        """`connect` makes a connection, which is started here; `own_call` answers for the hub."""
        self._own_call = own_call
        self._figures = figures
        self._links = links
        self._connect = connect
        self._open: dict[Identity, CloudLink] = {}
        self._waiting: dict[Identity, deque[_Message]] = {}
        self._out: dict[str, _Message] = {}
        self._count = 0
        self.on_connected: Callable[[Identity], None] = lambda identity: None
        self.on_desired: Callable[[Identity, int, Mapping[str, object]], None] = (
            lambda identity, version, patch: None
        )

    def get(self, identity: Identity) -> CloudLink:
        """Return the connection of a client; it is opened if there is none."""
        found = self._open.get(identity)
        if found is None:
            found = self._open[identity] = self._connect(identity)
            found.start()
        return found

    def refuses(self, identity: Identity) -> bool:
        """Tell whether the cloud takes the hub itself, but not this client."""
        link = self._open.get(identity)
        own = any(each.is_own and each.is_connected for each in self._open.values())
        return own and link is not None and link.is_refused

    async def stop(self) -> None:
        """End all connections."""
        await asyncio.gather(*(link.stop() for link in self._open.values()))

    # --- what the cloud says (link.Told)

    def connected(self, identity: Identity) -> None:
        """The cloud can be asked now."""
        self._figures.reached(identity)
        if self.get(identity).is_own:
            for link in self._open.values():
                link.hurry()
        self.on_connected(identity)

    def ended(self, identity: Identity, was_connected: bool) -> None:
        """The connection has ended, or an attempt at it failed."""
        self._figures.lost(identity, was_connected)

    def moved(self, direction: str, cause: str, size_bytes: int) -> None:
        """Bytes were sent or received."""
        self._figures.moved(direction, cause, size_bytes)

    def desired(self, identity: Identity, version: int, patch: Mapping[str, object]) -> None:
        """Desired properties have changed."""
        self.on_desired(identity, version, patch)

    async def call(self, identity: Identity, name: str, payload: bytes) -> tuple[int, bytes]:
        """Call a direct method of a client that is connected, or of the hub."""
        if self.get(identity).is_own:
            return await self._own_call(name, payload)
        link = self._links.get(identity)
        if link is None:
            return _NOT_FOUND, b'{"message":"the client is not connected to the edge hub"}'
        try:
            with self._figures.call(CLOUD, identity):
                return await link.call(name, payload, _METHOD_SECONDS)
        except TimeoutError:
            return _TIMEOUT, b'{"message":"the client has not answered"}'
        except (NotSubscribedError, ConnectionError) as error:
            return _NOT_FOUND, f'{{"message":"{error}"}}'.encode()

    async def message(self, identity: Identity, bag: str, payload: bytes) -> bool:
        """Pass a message on; it is the cloud's until the client has settled it."""
        self._count += 1
        token = f"c2d/{self._count}"
        properties = decode_properties(bag)
        topic = c2d_topic(identity.device_id, properties, identity.module_id)
        settled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(identity, deque())
        message = _Message(Outgoing(token, topic, payload), settled)
        waiting.append(message)
        link = self._links.get(identity)
        if link is not None:
            link.messages_waiting()
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                return await settled
        except TimeoutError:
            return False
        finally:
            self._out.pop(token, None)
            with contextlib.suppress(ValueError):
                waiting.remove(message)

    # --- what the hub hands out

    def take(self, identity: Identity, limit: int) -> list[Outgoing]:
        """Hand out messages from the cloud."""
        waiting = self._waiting.get(identity, deque())
        found = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        self._out |= {message.outgoing.token: message for message in found}
        return [message.outgoing for message in found]

    def settle(self, tokens: list[str]) -> None:
        """The client has these."""
        for token in tokens:
            message = self._out.pop(token, None)
            if message is not None and not message.settled.done():
                message.settled.set_result(True)

    def give_back(self, identity: Identity, tokens: list[str]) -> None:
        """The client has gone without these: they wait for it until the cloud takes them back."""
        found = [message for token in tokens if (message := self._out.pop(token, None))]
        self._waiting.setdefault(identity, deque()).extendleft(reversed(found))

    @staticmethod
    def owns(token: str) -> bool:
        """Tell whether a token is of a message from the cloud."""
        return token.startswith("c2d/")
