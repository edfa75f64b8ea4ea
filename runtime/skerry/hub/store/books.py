"""What the store's thread knows of the database without asking it: queues, totals, bytes held."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from skerry.hub.store.queues import Cache, Endpoint, Queue
from skerry.hub.store.rows import Waiting, read_whole
from skerry.hub.store.totals import NO_QUEUE, STORED, Totals, load_totals

Reading = Callable[[], AbstractContextManager[sqlite3.Connection]]

_LOAD_ROWS, _LOAD_BYTES = 512, 1024 * 1024


class Books:
    """Endpoints are made by any thread and never go; the rest is the store's thread's."""

    def __init__(self, reading: Reading, cache_bytes: int) -> None:
        self._reading = reading
        self._cache = Cache(cache_bytes)
        self._lock = threading.Lock()
        self.endpoints: dict[str, Endpoint] = {}
        self.queues: dict[int, Queue] = {}
        self._by_name: dict[tuple[str, int], Queue] = {}
        self.totals = Totals()
        self.held = 0
        self.contents = 0  # number of the newest shared content

    def open(self, connection: sqlite3.Connection) -> None:
        """Read everything from the database; what is handed out stays so."""
        totals = load_totals(connection.execute("SELECT * FROM total"))
        for number, endpoint, priority in connection.execute("SELECT * FROM queue"):
            queue = self.queues.get(number) or self._add(number, endpoint, priority)
            queue.stored = totals.counts.get((number, STORED, ""), 0)
        for queue in self.queues.values():
            with self.endpoints[queue.endpoint].lock:
                queue.forget()
        newest = connection.execute("SELECT max(number) FROM content").fetchone()[0]
        self.contents = max(self.contents, newest or 0)
        self.totals, self.held = totals, totals.held_bytes()

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint, new if need be."""
        with self._lock:
            return self.endpoints.setdefault(name, Endpoint(name))

    def queue(self, endpoint: str, priority: int) -> Queue:
        """Return the queue of a priority, new if need be."""
        found = self._by_name.get((endpoint, priority))
        if found is not None:
            return found
        number = max(self.queues, default=NO_QUEUE) + 1
        queue = self._add(number, endpoint, priority)
        queue.saved = False
        return queue

    def names(self) -> dict[int, tuple[str, int]]:
        """Return endpoint and priority of each queue."""
        return {each.id: (each.endpoint, each.priority) for each in list(self.queues.values())}

    def load(self, above: int, up_to: int) -> list[Waiting]:
        """Read entries for a queue in memory."""
        with self._reading() as connection:
            return read_whole(connection, above, up_to, _LOAD_ROWS, _LOAD_BYTES)

    def _add(self, number: int, endpoint: str, priority: int) -> Queue:
        queue = Queue(number, endpoint, priority, self._cache)
        found = self.endpoint(endpoint)
        with found.lock:
            found.add(queue)
        self.queues[number] = self._by_name[endpoint, priority] = queue
        return queue
