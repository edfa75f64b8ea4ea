"""Dropping all that waits in queues, in pieces, so that nobody who puts has to wait for it."""

from collections.abc import Callable
from concurrent.futures import Future

from skerry.hub.store.books import Books
from skerry.hub.store.change import Change
from skerry.hub.store.commands import reject, resolve
from skerry.hub.store.errors import StoreError
from skerry.hub.store.model import Dropped
from skerry.hub.store.queues import Queue
from skerry.hub.store.rows import first_of, read_sized

Submit = Callable[[Callable[[Change], object]], "Future[object]"]

_ROWS = 1000


class Purge:
    """One queue after the other, up to the entry that was its newest when this began."""

    def __init__(self, books: Books, submit: Submit, endpoint: str, priority: int | None) -> None:
        self.answer: Future[int] = Future()
        self._books = books
        self._submit = submit
        self._endpoint, self._priority = endpoint, priority
        self._ahead: list[tuple[Queue, int, int]] = []
        self._dropped = 0

    def begin(self) -> "Future[int]":
        """Start; the answer is how many entries were dropped. Raises there: StoreError."""
        self._step(self._find)
        return self.answer

    def _step(self, work: Callable[[Change], object]) -> None:
        self._submit(work).add_done_callback(self._after)

    def _after(self, done: "Future[object]") -> None:
        error = done.exception()
        if isinstance(error, Exception):
            reject(self.answer, error)
        elif self._ahead:
            self._step(self._drop)
        else:
            resolve(self.answer, self._dropped)

    def _find(self, change: Change) -> None:
        del change
        endpoint = self._books.endpoints.get(self._endpoint)
        found = [] if endpoint is None else list(endpoint.queues)
        wanted = [each for each in found if self._priority in (None, each.priority)]
        if not wanted:
            which = "" if self._priority is None else f" of priority {self._priority}"
            raise StoreError(
                f"there is no queue {self._endpoint!r}{which}; see `skerry hub queues`"
            )
        self._ahead = [
            (each, first_of(each.id), first_of(each.id) + each.stored) for each in wanted
        ]

    def _drop(self, change: Change) -> None:
        queue, above, last = self._ahead.pop()
        found = read_sized(change.connection, above, last, _ROWS)
        self._dropped += len(change.drop(queue, found, Dropped.PURGED))
        if found:
            self._ahead.append((queue, found[-1].position, last))
