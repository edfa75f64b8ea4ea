"""The hub behind its heads: judges clients, routes what they send, hands out what waits for them.

Invariants
- A message is acknowledged when the store has it in every queue that its routes lead to.
- Before the hub's first settings no client is taken: its messages would have nowhere to go.
- What a module was handed out and has not acknowledged is given back when its connection ends.
- Sessions are in memory, and on disk before a subscription is acknowledged.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import lru_cache
from typing import Protocol, TypeVar

from skerry.base.clock import Clock
from skerry.heads.links import Links
from skerry.heads.model import Outgoing, Telemetry
from skerry.heads.ports import Admitted, Claim
from skerry.hub.access import Access
from skerry.hub.decisions import Decisions
from skerry.hub.desired import Desired
from skerry.hub.errors import AccessError
from skerry.hub.figures import HUB, Figures, Way
from skerry.hub.store.model import (
    UPSTREAM,
    Entry,
    Message,
    Outcome,
    Position,
    Target,
    aside_source,
)
from skerry.hub.store.store import Store
from skerry.wire.identity import Identity
from skerry.wire.mqtt import Connect
from skerry.wire.topics import c2d_topic, input_topic, join_properties

T = TypeVar("T")

_SESSION = "session"
_CHANGE = {
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "message-schema": "twinChangeNotification",
}
_MOST_BYTES = 4 * 1024 * 1024
_KEPT_CHARACTERS = 512
_SERVER_ERROR = 500
_NOT_AUTHENTICATED, _UNAVAILABLE = "not_authenticated", "unavailable"
_NO_ROUTES = "the hub has no routes yet: it has never reached the cloud"

_Pairs = tuple[tuple[str, str], ...]


class Twins(Protocol):
    """The twins of clients, kept and shared with the cloud."""

    async def document(self, identity: Identity) -> Mapping[str, object]:
        """Return the twin as a client sees it. Raises: AnswerError."""

    async def report(self, identity: Identity, patch: object) -> int:
        """Change reported properties; returns their version. Raises: AnswerError."""


class FromCloud(Protocol):
    """Messages from the cloud that wait for clients."""

    def take(self, identity: Identity, limit: int) -> list[Outgoing]:
        """Hand out messages."""

    def settle(self, tokens: list[str]) -> None:
        """The client has these."""

    def give_back(self, identity: Identity, tokens: list[str]) -> None:
        """The client has gone without these."""

    def owns(self, token: str) -> bool:
        """Tell whether a token is of such a message."""


class HubBackend:
    """A `Backend` of the heads. To be used on the loop."""

    def __init__(
        self,
        *,
        device_id: str,
        store: Store,
        access: Access,
        twins: Twins,
        from_cloud: FromCloud,
        links: Links,
        clock: Clock,
        most_clients: int,
        figures: Figures,
    ) -> None:
        self.on_connect: Callable[[Identity], None] = lambda identity: None
        """Called when a client has been admitted."""
        self.on_stranger: Callable[[], Awaitable[None]] = _nothing
        """Awaited once when a client is refused that may be newer than the scope."""
        self._device_id = device_id
        self._store = store
        self._access = access
        self._twins = twins
        self._from_cloud = from_cloud
        self._links = links
        self._most_clients = most_clients
        self._figures = figures
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._decisions: Decisions | None = None
        self._inputs: dict[Identity, tuple[str, ...]] = {}
        self._under_way: dict[str, tuple[Way, float]] = {}
        self._sessions: dict[Identity, Mapping[str, int]] = {
            Identity.parse(key): json.loads(value)
            for key, value in store.documents.all(_SESSION).items()
        }

    def use(self, desired: Desired) -> None:
        """Route by these settings from now on."""
        self._decisions = Decisions(desired, self._device_id)
        endpoints = {  # of former routes, too
            state.endpoint for state in self._store.queues() if aside_source(state.endpoint) is None
        }
        endpoints |= {
            f"{self._device_id}/{named.route.sink.module}/{named.route.sink.input}"
            for named in desired.routes
            if named.route.sink.module is not None
        }
        inputs: defaultdict[Identity, list[str]] = defaultdict(list)
        for endpoint in sorted(endpoints - {UPSTREAM}):
            device_id, module_id, _ = endpoint.split("/", 2)
            module = Identity(device_id, module_id)
            inputs[module].append(endpoint)
            self._store.subscribe(endpoint, self._waker(module))
        self._inputs = {module: tuple(found) for module, found in inputs.items()}
        for module in self._inputs:
            self._wake(module)

    async def connect(self, claim: Claim, *, keeps_session: bool) -> Admitted:
        """Judge a client by the scope; none is taken before it is known where messages go."""
        try:
            return await self._admit(claim, keeps_session)
        except AccessError as error:
            reason = _UNAVAILABLE if error.status >= _SERVER_ERROR else _NOT_AUTHENTICATED
            self._figures.refused(claim.identity, reason)
            raise

    async def _admit(self, claim: Claim, keeps_session: bool) -> Admitted:
        if self._decisions is None:
            raise AccessError(503, _NO_ROUTES)
        expires_at = await self._judge(claim)
        identity = claim.identity
        if len(self._links) >= self._most_clients and self._links.get(identity) is None:
            most = self._most_clients
            raise AccessError(503, f"{most} clients are connected; MaxConnectedClients allows that")
        if not keeps_session and self._sessions.pop(identity, None) is not None:
            await _done(self._store.documents.delete(_SESSION, str(identity)))
        self.on_connect(identity)
        return Admitted(expires_at, self._sessions.get(identity))

    async def _judge(self, claim: Claim) -> float:
        try:
            return self._access.admit(claim)
        except AccessError:
            await self.on_stranger()
            return self._access.admit(claim)

    async def check(self, claim: Claim) -> float | None:
        """Judge again."""
        return self._access.admit(claim)

    async def remember(
        self, identity: Identity, filters: Callable[[], Mapping[str, int] | None]
    ) -> None:
        """Keep a session's subscriptions."""
        found = filters()
        if found is not None:
            self._sessions[identity] = found
            data = json.dumps(found).encode()
            await _done(self._store.documents.put(_SESSION, str(identity), data))

    async def twin(self, identity: Identity) -> Mapping[str, object]:
        """Return the client's twin."""
        with self._figures.twin(HUB, identity):
            return await self._twins.document(identity)

    async def report(self, identity: Identity, patch: object) -> int:
        """Change reported properties, and tell of it where routes lead."""
        with self._figures.report(HUB, identity):
            version = await self._twins.report(identity, patch)
        await self._tell_change(identity, patch)
        return version

    async def _tell_change(self, identity: Identity, patch: object) -> None:
        if self._decisions is None:
            return
        body = json.dumps(patch, separators=(",", ":")).encode()
        decision = self._decisions.of_change(Telemetry(identity, _CHANGE, {}, body))
        if not decision.targets:
            return
        received_at = self._clock.now().timestamp()
        new_id = self._store.new_id()
        stored = Message(new_id, str(identity), decision.system, {}, body, received_at)
        (refusal,) = await asyncio.wrap_future(self._store.put([(stored, decision.targets)]))
        if refusal is not None:
            raise AccessError(503, refusal.text)  # the client reports again, which changes nothing

    async def append(self, batch: Sequence[Telemetry]) -> Mapping[int, str]:
        """Route messages and store them where they go."""
        received_at = self._clock.now().timestamp()
        items = [self._routed(one, received_at) for one in batch]
        refusals = await asyncio.wrap_future(self._store.put(items))
        refused = {n: refusal.text for n, refusal in enumerate(refusals) if refusal is not None}
        for n in refused:
            self._figures.unstored(items[n][0])
        return refused

    def takes(self, identity: Identity, filters: Mapping[str, int]) -> bool:
        """Tell whether a client listens to the cloud, or a module to its inputs."""
        return _wants_cloud(identity, filters) or self._wants_inputs(identity, filters)

    async def take(
        self, identity: Identity, filters: Mapping[str, int], limit: int
    ) -> Sequence[Outgoing]:
        """Hand out what waits from the cloud, and at the inputs of a module."""
        found: list[Outgoing] = []
        if _wants_cloud(identity, filters):
            found += self._from_cloud.take(identity, limit)
        if self._wants_inputs(identity, filters):
            for endpoint in self._inputs[identity]:
                if len(found) < limit:
                    entries = self._store.take(endpoint, limit - len(found), _MOST_BYTES)
                    found += self._handed_out(endpoint, entries)
        return found

    async def settle(self, identity: Identity, tokens: Sequence[str]) -> None:
        """The client has these."""
        now = self._figures.monotonic()
        for token in tokens:
            if token in self._under_way:
                way, since = self._under_way.pop(token)
                way.sending.observe(now - since)
        self._from_cloud.settle([token for token in tokens if self._from_cloud.owns(token)])
        ended = [
            self._store.done(endpoint, positions, Outcome.DELIVERED)
            for endpoint, positions in self._by_endpoint(tokens).items()
        ]
        for future in ended:
            await _done(future)

    async def give_back(self, identity: Identity, tokens: Sequence[str]) -> None:
        """The client has gone without these."""
        for token in tokens:
            self._under_way.pop(token, None)
        own = [token for token in tokens if self._from_cloud.owns(token)]
        self._from_cloud.give_back(identity, own)
        for endpoint, positions in self._by_endpoint(tokens).items():
            self._store.give_back(endpoint, positions)
        self._wake(identity)

    def service(self, packet: Connect) -> None:
        """There is nothing but the hub behind this port."""

    def _routed(self, message: Telemetry, received_at: float) -> tuple[Message, Sequence[Target]]:
        if self._decisions is None:
            raise AccessError(503, _NO_ROUTES)
        decision = self._decisions.of(message)
        source = str(message.identity)
        self._figures.came(source, message.system, len(message.body) + decision.bag_bytes)
        if not decision.targets:
            self._figures.unrouted(source, message.system)
        stored = Message(
            self._store.new_id(),
            source,
            decision.system,
            message.properties,
            message.body,
            received_at,
        )
        return stored, decision.targets

    def _handed_out(self, endpoint: str, entries: Sequence[Entry]) -> list[Outgoing]:
        found, since = [], self._figures.monotonic()
        now = self._clock.now().timestamp()
        for entry in entries:
            outgoing = _outgoing(endpoint, entry)
            way = self._figures.sent(entry, endpoint, self._store.priority(entry.position), now)
            self._under_way[outgoing.token] = way, since
            found.append(outgoing)
        return found

    def _wants_inputs(self, identity: Identity, filters: Mapping[str, int]) -> bool:
        if identity not in self._inputs:
            return False
        start = f"devices/{identity.device_id}/modules/{identity.module_id}/"
        return any(text == f"{start}#" or text.startswith(f"{start}inputs/") for text in filters)

    def _by_endpoint(self, tokens: Sequence[str]) -> dict[str, list[Position]]:
        found: defaultdict[str, list[Position]] = defaultdict(list)
        for token in tokens:
            if not self._from_cloud.owns(token):
                position, _, endpoint = token.partition("/")
                found[endpoint].append(Position(int(position)))
        return found

    def _waker(self, module: Identity) -> Callable[[], None]:
        def wake() -> None:  # on the store's thread
            self._loop.call_soon_threadsafe(self._wake, module)

        return wake

    def _wake(self, identity: Identity) -> None:
        link = self._links.get(identity)
        if link is not None:
            link.messages_waiting()


def _outgoing(endpoint: str, entry: Entry) -> Outgoing:
    message = entry.message
    pairs = tuple(message.system.items()), tuple(message.properties.items())
    is_short = sum(map(len, message.properties.values())) <= _KEPT_CHARACTERS
    topic = (_topic if is_short else _topic.__wrapped__)(endpoint, *pairs)
    return Outgoing(f"{entry.position}/{endpoint}", topic, message.body)


@lru_cache(maxsize=1024)
def _topic(endpoint: str, system: _Pairs, properties: _Pairs) -> str:
    """Encode once what a sender says with every message."""
    device_id, module_id, name = endpoint.split("/", 2)
    bag = join_properties(dict(system), dict(properties))
    return input_topic(device_id, module_id, name, bag)


def _wants_cloud(identity: Identity, filters: Mapping[str, int]) -> bool:
    return c2d_topic(identity.device_id, {}, identity.module_id) + "#" in filters


async def _nothing() -> None:
    """Do nothing."""


async def _done(future: "Future[T]") -> None:
    await asyncio.wrap_future(future)
