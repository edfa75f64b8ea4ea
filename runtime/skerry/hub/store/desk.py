"""What the running hub does for commands that ask it through the database: see `requests`."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict

from skerry.hub.store.commands import reject, resolve
from skerry.hub.store.errors import StoreError
from skerry.hub.store.model import QueueState, StoreHealth

Answer = dict[str, object]


class Desk:
    """Knows two requests, `queues` and `purge`, and those that others answer (`more`)."""

    def __init__(
        self,
        queues: Callable[[], Sequence[QueueState]],
        health: Callable[[], StoreHealth],
        purge: Callable[[str, int | None], "Future[int]"],
    ) -> None:
        self._queues = queues
        self._health = health
        self._purge = purge
        self.more: dict[str, Callable[[Answer], Future[Answer]]] = {}

    def handle(self, request: Answer) -> "Future[Answer]":
        """Do what is asked for."""
        others = self.more.get(str(request.get("action")))
        if others is not None:
            return others(request)
        answer: Future[Answer] = Future()
        if request.get("action") == "queues":
            found: Answer = {
                "queues": [asdict(state) for state in self._queues()],
                "store": asdict(self._health()),
            }
            resolve(answer, found)
        elif request.get("action") == "purge":
            named = request.get("priority")
            priority = named if isinstance(named, int) else None
            purged = self._purge(str(request.get("endpoint")), priority)
            purged.add_done_callback(lambda done: _hand_on(done, answer))
        else:
            reject(answer, StoreError(f"the hub does not know the request {request!r}"))
        return answer


def _hand_on(done: "Future[int]", answer: "Future[Answer]") -> None:
    error = done.exception()
    if isinstance(error, Exception):
        reject(answer, error)
    else:
        found: Answer = {"purged": done.result()}
        resolve(answer, found)
