"""What is queued for the cloud goes up: each message by the connection of the client that sent it.

Invariants
- A message leaves the queue when the cloud has acknowledged it; what was under way when a
  connection ended is given back and goes again, in order for its client.
- At most `_WINDOW` messages are under way, and as many are held for clients whose connections do
  not stand. When that many are held, those of clients that the cloud refuses are set aside
  (`aside`), so that they hold up nobody; if the cloud is away all wait.
- When the day's budget is spent nothing more is taken from the queue, so that what is most urgent
  goes first tomorrow.
"""

import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from typing import Protocol

from skerry.base.clock import Clock
from skerry.base.log import Logger
from skerry.hub.cloud.aside import Aside
from skerry.hub.cloud.budget import Budget
from skerry.hub.errors import OfflineError
from skerry.hub.figures import Figures
from skerry.hub.store.model import UPSTREAM, Entry, Outcome
from skerry.hub.store.store import Store
from skerry.wire.identity import Identity
from skerry.wire.topics import events_topic, join_properties

_WINDOW = 200
_MOST_BYTES = 1024 * 1024
_LOOK_SECONDS = 1.0
_Item = tuple[int, Entry]
"""A message and its number in the order of taking, which a failed one goes back to."""

_HUBS_OWN = ("connection-device-id", "connection-module-id", "output-name")


class Sender(Protocol):
    """The connection of one client."""

    @property
    def is_connected(self) -> bool:
        """Whether `publish` can succeed now."""

    async def publish(self, topic: str, payload: bytes) -> None:
        """Send a message. Raises: OfflineError."""


class Senders(Protocol):
    """The connections of all clients."""

    def get(self, identity: Identity) -> Sender:
        """Return the connection of a client; it is opened if there is none."""

    def refuses(self, identity: Identity) -> bool:
        """Tell whether the cloud can be reached and does not take this client."""


class Pump:
    """Runs on the loop between `start` and `stop`."""

    def __init__(
        self,
        store: Store,
        senders: Senders,
        budget: Budget,
        figures: Figures,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._store = store
        self._senders = senders
        self._budget = budget
        self._figures = figures
        self._clock = clock
        self._log = log
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._held: dict[Identity, list[_Item]] = {}
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._aside = Aside(store, self._published, self._spawn)
        self._main: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._store.subscribe(UPSTREAM, self._wake)
        for identity in self._aside.clients:
            self._senders.get(identity)
        self._main = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop sending; what is not acknowledged stays in the queue."""
        self._store.subscribe(UPSTREAM, None)
        tasks = [*self._tasks, *([] if self._main is None else [self._main])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def connected(self, identity: Identity) -> None:
        """Send what was held back for a client whose connection stands now."""
        held = self._held.pop(identity, None)
        if held:
            self._start(identity, held)
        self._aside.connected(identity)
        self._news.set()

    def _wake(self) -> None:  # on the store's thread
        self._loop.call_soon_threadsafe(self._news.set)

    async def _run(self) -> None:
        while True:
            self._news.clear()
            held = sum(map(len, self._held.values()))
            room = _WINDOW - self._under_way
            if held >= _WINDOW:
                self._set_aside()
            elif room > 0 and not self._budget.is_spent:
                entries = await asyncio.to_thread(self._store.take, UPSTREAM, room, _MOST_BYTES)
                count = self._budget.fitting(entries)
                if count < len(entries):
                    later = [entry.position for entry in entries[count:]]
                    self._store.give_back(UPSTREAM, later)
                if count:
                    self._budget.spend(entries[:count])
                    self._begin(entries[:count])
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._news.wait()

    def _begin(self, entries: Sequence[Entry]) -> None:
        by_client: defaultdict[Identity, list[_Item]] = defaultdict(list)
        for entry in entries:
            by_client[Identity.parse(entry.message.source)].append((next(self._numbers), entry))
        for identity, own in by_client.items():
            if identity in self._held or not self._senders.get(identity).is_connected:
                self._held.setdefault(identity, []).extend(own)
            else:
                self._start(identity, own)

    def _start(self, identity: Identity, items: list[_Item]) -> None:
        if identity in self._aside.clients:
            self._aside.put(identity, [entry for _, entry in items])
        else:
            self._spawn(self._send(identity, items))

    def _set_aside(self) -> None:
        for identity in [one for one in self._held if self._senders.refuses(one)]:
            held = self._held.pop(identity)
            self._log.warning("messages set aside", client=str(identity), count=len(held))
            self._aside.put(identity, [entry for _, entry in held])
            self._news.set()

    async def _send(self, identity: Identity, items: list[_Item]) -> None:
        self._under_way += len(items)
        try:
            sent = await self._published(identity, [entry for _, entry in items])
        finally:
            self._under_way -= len(items)
            self._news.set()
        done = [i[1].position for i, is_sent in zip(items, sent, strict=True) if is_sent]
        failed = [i for i, is_sent in zip(items, sent, strict=True) if not is_sent]
        if done:
            await asyncio.wrap_future(self._store.done(UPSTREAM, done, Outcome.DELIVERED))
        if failed:
            self._budget.spend([entry for _, entry in failed])
            held = [*failed, *self._held.get(identity, [])]
            self._held[identity] = sorted(held, key=lambda item: item[0])
            if self._senders.get(identity).is_connected:
                self.connected(identity)

    async def _published(self, identity: Identity, entries: Sequence[Entry]) -> list[bool]:
        """Send messages of a client; tells for each whether the cloud has it."""
        sender = self._senders.get(identity)
        sent = [self._publish(sender, entry) for entry in entries]
        results = await asyncio.gather(*sent, return_exceptions=True)
        for error in {repr(r): r for r in results if r is not None}.values():
            if not isinstance(error, OfflineError):
                self._log.error("a message is not sent", client=str(identity), reason=error)
        return [result is None for result in results]

    async def _publish(self, sender: Sender, entry: Entry) -> None:
        message = entry.message
        identity = Identity.parse(message.source)
        system = {k: v for k, v in message.system.items() if k not in _HUBS_OWN}
        bag = join_properties(system, message.properties)
        topic = events_topic(identity.device_id, identity.module_id, bag)
        now, since = self._clock.now().timestamp(), self._figures.monotonic()
        await sender.publish(topic, message.body)
        priority = self._store.priority(entry.position)
        way = self._figures.sent(entry, UPSTREAM, priority, now)
        way.sending.observe(self._figures.monotonic() - since)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
