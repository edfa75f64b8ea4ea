"""One transaction: messages that come in, entries that go, with totals and ledger.

Invariants
- Nothing in memory says that something is stored, or gone, before `publish`, which follows the
  commit; after a rollback `undo` makes queues read again what is on disk.
- What leaves a queue for another reason than its receiver's word is first taken out of the queue in
  memory, so that it is not handed out while it is deleted.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil

from skerry.hub.store import ledger as ledgers
from skerry.hub.store.books import Books
from skerry.hub.store.ledger import Ledger
from skerry.hub.store.model import (
    Dropped,
    FullPolicy,
    Message,
    Outcome,
    Refusal,
    StoreSettings,
    Target,
)
from skerry.hub.store.quarantine import Quarantine
from skerry.hub.store.queues import Endpoint, Queue
from skerry.hub.store.room import Room
from skerry.hub.store.rows import (
    Row,
    Waiting,
    checksum,
    delete,
    dump_bag,
    first_of,
    insert,
    queue_of,
    read_sized,
    row_size,
    runs,
)
from skerry.hub.store.totals import (
    DELIVERED,
    DROPPED,
    MOVED,
    NO_QUEUE,
    RECEIVED,
    SHARED,
    STORED,
    Totals,
)

_EVICT_ROWS = 256
_ADD_QUEUE = "INSERT OR IGNORE INTO queue VALUES (?, ?, ?)"


@dataclass(frozen=True)
class Parts:
    """What a change works with, the same for each."""

    books: Books
    room: Room
    ledger: Ledger
    settings: StoreSettings
    quarantine: Quarantine


@dataclass
class Change:
    """Collects, writes in `flush`, and tells the queues in `publish`."""

    connection: sqlite3.Connection
    parts: Parts
    age: float
    wall: float
    to_come: int = 0  # bytes of bodies that this transaction is still to bring
    soonest: float = float("inf")  # age at which the first of what is stored expires
    totals: Totals = field(default_factory=Totals)
    _held: int = 0
    _contents: int = 0
    _added: dict[int, list[Waiting]] = field(default_factory=dict)
    _rows: list[Row] = field(default_factory=list)
    _content_rows: list[Row] = field(default_factory=list)
    _share_rows: list[Row] = field(default_factory=list)
    _in: list[tuple[str, str, float, Sequence[int]]] = field(default_factory=list)
    _out: dict[tuple[int, str, str], list[Waiting]] = field(default_factory=dict)
    _moved: dict[int, list[str]] = field(default_factory=dict)
    _removed: list[Queue] = field(default_factory=list)
    _ended: list[tuple[Endpoint, list[Waiting]]] = field(default_factory=list)

    def put(self, message: Message, targets: Sequence[Target]) -> Refusal | None:
        """Store a message for its targets, or say why not."""
        if len(targets) > 1:
            targets = list({(each.endpoint, each.priority): each for each in targets}.values())
        bag = dump_bag(message)
        content_size = len(bag) + len(message.body)
        own_size = row_size(message.id, message.source)
        size = len(targets) * own_size + content_size
        ahead, self.to_come = self.to_come, self.to_come - len(message.body)
        if targets and (
            refusal := self._refusal(size, ahead, min(each.priority for each in targets))
        ):
            return refusal
        self.totals.add(NO_QUEUE, RECEIVED, 1, content_size)
        if not targets:
            self.totals.add(NO_QUEUE, DROPPED, 1, content_size, Dropped.NO_ROUTE)
            self._in.append((message.id, message.source, message.received_at, ()))
            return None
        crc = checksum(message.id, message.source, bag, message.body)
        content = self._share(bag, message.body, len(targets)) if len(targets) > 1 else None
        queues = []
        for target in targets:
            queue = self.parts.books.queue(target.endpoint, target.priority)
            queues.append(queue.id)
            expires = _expiry(self.age, target.ttl_seconds)
            self._enter(queue, message, expires, content, own_size, content_size, bag, crc)
        self._in.append((message.id, message.source, message.received_at, queues))
        self._held += size
        self.parts.room.took(size)
        return None

    def end(
        self, endpoint: Endpoint, entries: list[Waiting], outcome: Outcome, reason: str
    ) -> None:
        """Remove entries that their receiver is done with."""
        self._ended.append((endpoint, entries))
        kind = DELIVERED if outcome is Outcome.DELIVERED else DROPPED
        why = reason if outcome is Outcome.DELIVERED else reason or Dropped.REJECTED
        for entry in entries:
            self._leave(entry, kind, why)

    def move(self, endpoint: Endpoint, entries: list[Waiting], to: str) -> None:
        """Put what was handed out last into another endpoint's queues: same priority and expiry.

        There is always room for it, as it is there already.
        """
        self._ended.append((endpoint, entries))
        for entry in entries:
            message = entry.message
            if message is None:
                continue  # damaged; what is handed out never is
            bag = dump_bag(message)
            own_size = row_size(message.id, message.source)
            content_size = len(bag) + len(message.body)
            crc = checksum(message.id, message.source, bag, message.body)
            queue = self.parts.books.queue(
                to, self.parts.books.queues[queue_of(entry.position)].priority
            )
            self._enter(queue, message, entry.expires, None, own_size, content_size, bag, crc)
            self._moved.setdefault(queue.id, []).append(message.id)
            self._held += own_size + content_size
            self.parts.room.took(own_size + content_size)
            self._leave(entry, MOVED, "")

    def drop(self, queue: Queue, entries: Sequence[Waiting], reason: str) -> list[Waiting]:
        """Remove entries that nobody has been handed; return those."""
        endpoint = self.parts.books.endpoints[queue.endpoint]
        with endpoint.lock:
            free = [
                each for each in entries
                if not endpoint.is_out(each.position) and each.position not in queue.leaving
            ]  # fmt: skip
            queue.remove(each.position for each in free)
        self._removed.append(queue)
        for entry in free:
            self._leave(entry, DROPPED, reason)
        return free

    def flush(self) -> None:
        """Write it all."""
        for number in self._added:
            queue = self.parts.books.queues[number]
            if not queue.saved:
                self.connection.execute(_ADD_QUEUE, (number, queue.endpoint, queue.priority))
        insert(self.connection, "entry", self._rows)
        insert(self.connection, "content", self._content_rows)
        insert(self.connection, "share", self._share_rows)
        for entries in self._out.values():
            delete(self.connection, "entry", [each.position for each in entries])
            self._release([each for each in entries if each.content is not None])
        self.totals.save(self.connection)
        self._write_ledger()

    def publish(self) -> list[Callable[[], None]]:
        """Tell queues and counters what is now on disk; return whom to wake."""
        self.parts.ledger.settle(committed=True)
        books = self.parts.books
        books.totals.merge(self.totals)
        books.held += self._held
        books.contents += self._contents
        for endpoint, entries in self._ended:
            with endpoint.lock:
                endpoint.ending.difference_update(each.position for each in entries)
        for queue in self._removed:
            with books.endpoints[queue.endpoint].lock:
                queue.leaving.clear()
        woken = {}
        for number, entries in self._added.items():
            queue = books.queues[number]
            queue.saved, queue.stored = True, queue.stored + len(entries)
            endpoint = woken[queue.endpoint] = books.endpoints[queue.endpoint]
            with endpoint.lock:
                queue.append(entries)
        return [endpoint.wake for endpoint in woken.values() if endpoint.wake is not None]

    def undo(self) -> None:
        """Nothing of it was stored."""
        self.parts.ledger.settle(committed=False)
        for queue in self._removed:
            with self.parts.books.endpoints[queue.endpoint].lock:
                queue.forget()

    def _enter(
        self, queue: Queue, message: Message, expires: int | None, content: int | None,
        own_size: int, content_size: int, bag: str, crc: int,
    ) -> None:  # fmt: skip
        added = self._added.setdefault(queue.id, [])
        position = first_of(queue.id) + queue.stored + len(added) + 1
        size = own_size + content_size
        added.append(Waiting(position, message.id, expires, size, content, content_size, message))
        kept = (bag, message.body) if content is None else ("", b"")
        self._rows.append(
            (
                position,
                message.id,
                expires,
                message.received_at,
                message.source,
                *kept,
                content,
                crc,
            )
        )
        self.totals.add(queue.id, STORED, 1, size)
        if expires is not None:
            self.soonest = min(self.soonest, expires / 1000)

    def _share(self, bag: str, body: bytes, targets: int) -> int:
        self._contents += 1
        number = self.parts.books.contents + self._contents
        self._content_rows.append((number, bag, body))
        self._share_rows.append((number, targets))
        self.totals.add(NO_QUEUE, SHARED, 1, (targets - 1) * (len(bag) + len(body)))
        return number

    def _leave(self, entry: Waiting, outcome: str, reason: str) -> None:
        number = queue_of(entry.position)
        self._out.setdefault((number, outcome, reason), []).append(entry)
        self.totals.add(number, outcome, 1, entry.size, reason)
        self._held -= entry.size

    def _release(self, entries: Sequence[Waiting]) -> None:
        """Count down what the entries share, and delete what nobody needs any more."""
        sizes = {each.content: each.content_size for each in entries if each.content is not None}
        if not sizes:
            return
        gone: list[int] = []
        for first, last in runs(list(sizes)):
            between = (first, last)
            self.connection.execute(
                "UPDATE share SET left = left - 1 WHERE number BETWEEN ? AND ?", between
            )
            gone += (
                number for (number,) in self.connection.execute(
                    "SELECT number FROM share WHERE number BETWEEN ? AND ? AND left <= 0", between
                )
            )  # fmt: skip
        delete(self.connection, "share", gone)
        delete(self.connection, "content", gone)
        still = sum(sizes.values()) - sum(sizes[number] for number in gone)
        self.totals.add(NO_QUEUE, SHARED, -len(gone), -still)
        self._held += still

    def _refusal(self, size: int, ahead: int, priority: int) -> Refusal | None:
        room, held = self.parts.room, self.parts.books.held + self._held
        missing = room.missing(held, size)
        if missing > 0 and room.policy is FullPolicy.DROP_OLDEST:
            wanted = max(missing, room.missing(held, max(size, ahead)))
            missing -= self._evict(missing, wanted, priority)
        return room.refusal(held, size) if missing > 0 else None

    def _evict(self, missing: int, wanted: int, priority: int) -> int:
        """Drop the oldest entries of the lowest priority; return how many bytes that freed.

        Up to `wanted` bytes of the lowest priority there is, of others no more than is missing.
        """
        freed = 0
        queues = [each for each in self.parts.books.queues.values() if each.priority >= priority]
        queues.sort(key=lambda each: -each.priority)
        for _, same in groupby(queues, key=lambda each: each.priority):
            level, goal = list(same), missing if freed else wanted
            while freed < goal and (more := self._evict_level(level, goal - freed)):
                freed += more
            if freed >= missing:
                break
        return freed

    def _evict_level(self, queues: Sequence[Queue], goal: int) -> int:
        rows = [entry for queue in queues for entry in self._head(queue)]
        freed, chosen = 0, dict[int, list[Waiting]]()
        for entry in sorted(rows, key=lambda each: each.id):
            if freed >= goal:
                break
            freed += entry.size - (entry.content_size if entry.content is not None else 0)
            chosen.setdefault(queue_of(entry.position), []).append(entry)
        for number, entries in chosen.items():
            self.drop(self.parts.books.queues[number], entries, Dropped.EVICTED)
        return freed

    def _head(self, queue: Queue) -> list[Waiting]:
        endpoint = self.parts.books.endpoints[queue.endpoint]
        with endpoint.lock:
            out = endpoint.leases.keys() | endpoint.ending | queue.leaving
        rows = _EVICT_ROWS + len(out)
        found = read_sized(self.connection, first_of(queue.id), first_of(queue.id + 1) - 1, rows)
        return [each for each in found if each.position not in out]

    def _write_ledger(self) -> None:
        ledger = self.parts.ledger
        if self._in:
            ids = [each[0] for each in self._in]
            event = ledgers.came_in(self.wall, self._in)
            ledger.write(self.connection, self.age, ids, event)
        for (queue, outcome, reason), entries in self._out.items():
            ids = [each.id for each in entries]
            event = ledgers.went_out(self.wall, queue, outcome, reason, ids)
            ledger.write(self.connection, self.age, ids, event)
        for queue, ids in self._moved.items():
            event = ledgers.moved_to(self.wall, queue, ids)
            ledger.write(self.connection, self.age, ids, event)


def _expiry(age: float, ttl_seconds: float | None) -> int | None:
    return None if ttl_seconds is None else ceil((age + ttl_seconds) * 1000)
