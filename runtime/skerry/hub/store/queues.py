"""What waits for one endpoint, as far as memory holds it: heads of queues, and what is handed out.

A queue in memory is a window on the rows on disk:

    rows:      handed out | given back | ready ... loaded | only on disk
    positions: ------------------------------------------------------->

Invariants
- `ready` holds entries in the order of their positions, all at most `loaded`; what is above that
  and committed is on disk only, and `behind` is then true.
- What is handed out (`leases`) or being ended (`ending`) or removed (`leaving`) is never loaded.
- All fields of an `Endpoint` and its queues are used under its lock, but `Queue.stored`, which only
  the store's thread uses.
"""

import bisect
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from skerry.hub.store.rows import Waiting, first_of, queue_of

Load = Callable[[int, int], list[Waiting]]
"""Reads some entries above one position and up to another; none only when there are none."""

_READY_MOST, _READY_BYTES = 2048, 2 * 1024 * 1024
_READY_BEHIND = 64  # a queue that nobody drains keeps this many


class Cache:
    """Bytes of messages in memory, over all queues."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """Count bytes in, or out when negative."""
        with self._lock:
            self._used += size

    @property
    def has_room(self) -> bool:
        """Whether more may be kept."""
        return self._used < self._limit


@dataclass
class Queue:
    """One priority of an endpoint."""

    id: int
    endpoint: str
    priority: int
    cache: Cache
    saved: bool = True
    stored: int = 0  # sequence of its newest entry on disk
    ready: deque[Waiting] = field(default_factory=deque)
    ready_bytes: int = 0
    returned: list[Waiting] = field(default_factory=list)
    loaded: int = 0
    behind: bool = False
    leaving: set[int] = field(default_factory=set)

    def append(self, entries: Sequence[Waiting]) -> None:
        """Take in what was committed just now."""
        if self.behind:
            return
        fresh = [entry for entry in entries if entry.position > self.loaded]
        if len(self.ready) + len(fresh) > _READY_MOST or not self._room():
            self._fall_behind()
            return
        self._keep(fresh)

    def load(self, load: Load, without: Callable[[int], bool]) -> None:
        """Read on from disk when nothing is ready."""
        while self.behind and not self.ready and not self.returned:
            above = max(self.loaded, first_of(self.id))
            found = load(above, first_of(self.id + 1) - 1)
            if found:
                self._keep([entry for entry in found if not self._gone(entry, without)])
                self.loaded = found[-1].position
            self.behind = bool(found)

    def pop(self) -> Waiting | None:
        """Return the next one, what was given back first."""
        if self.returned:
            return self.returned.pop(0)
        if not self.ready:
            return None
        entry = self.ready.popleft()
        self._count(-entry.size)
        return entry

    def push(self, entry: Waiting) -> None:
        """Put back what `pop` returned, into its old place."""
        bisect.insort(self.returned, entry, key=lambda each: each.position)

    def remove(self, positions: Iterable[int]) -> None:
        """Keep entries from being handed out: they are about to be deleted."""
        self.leaving.update(positions)
        gone = [entry for entry in self.ready if entry.position in self.leaving]
        self._count(-sum(entry.size for entry in gone))
        self.ready = deque(entry for entry in self.ready if entry.position not in self.leaving)
        self.returned = [one for one in self.returned if one.position not in self.leaving]

    def forget(self) -> None:
        """Read everything from disk again."""
        self._count(-self.ready_bytes)
        self.ready.clear()
        self.returned.clear()
        self.leaving.clear()
        self.loaded, self.behind = 0, True

    def _keep(self, entries: Sequence[Waiting]) -> None:
        if entries:
            self.ready.extend(entries)
            self.loaded = entries[-1].position
            self._count(sum(entry.size for entry in entries))

    def _gone(self, entry: Waiting, without: Callable[[int], bool]) -> bool:
        return entry.position in self.leaving or without(entry.position)

    def _room(self) -> bool:
        return self.ready_bytes < _READY_BYTES and self.cache.has_room

    def _fall_behind(self) -> None:
        """Leave the rest on disk, and of what is ready keep only the first."""
        self.behind = True
        while len(self.ready) > _READY_BEHIND:
            self._count(-self.ready.pop().size)
        if self.ready:
            self.loaded = self.ready[-1].position

    def _count(self, size: int) -> None:
        self.ready_bytes += size
        self.cache.add(size)


@dataclass
class Endpoint:
    """A receiver: its queues, the most urgent first, and what it was handed."""

    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    queues: list[Queue] = field(default_factory=list)
    leases: dict[int, Waiting] = field(default_factory=dict)
    ending: set[int] = field(default_factory=set)
    wake: Callable[[], None] | None = None

    def add(self, queue: Queue) -> None:
        """Add a queue in its place."""
        bisect.insort(self.queues, queue, key=lambda each: each.priority)

    def take(self, load: Load, age_ms: int, limit: int, max_bytes: int) -> list[Waiting]:
        """Hand out what is next: strict priority, then order; at least one if there is any.

        What turns out to be damaged is among it, without a message.
        """
        taken: list[Waiting] = []
        size = 0
        for queue in self.queues:
            while len(taken) < limit:
                queue.load(load, self.is_out)
                entry = queue.pop()
                if entry is None:
                    break
                if entry.expires is not None and entry.expires <= age_ms:
                    continue  # its row is deleted when the store's thread gets to it
                if taken and size + entry.size > max_bytes:
                    queue.push(entry)
                    return taken
                size += entry.size
                taken.append(entry)
                self.leases[entry.position] = entry
        return taken

    def give_back(self, positions: Iterable[int]) -> None:
        """Make entries available again, in their old places."""
        queues = {queue.id: queue for queue in self.queues}
        for position in positions:
            entry = self.leases.pop(position, None)
            if entry is not None:
                queues[queue_of(position)].push(entry)

    def end(self, positions: Iterable[int]) -> list[Waiting]:
        """Return what was handed out and is now done; each only once."""
        ended = [self.leases.pop(each) for each in positions if each in self.leases]
        self.ending.update(entry.position for entry in ended)
        return ended

    def is_out(self, position: int) -> bool:
        """Return whether an entry is handed out or being ended."""
        return position in self.leases or position in self.ending
