"""What the store's thread is asked to do, and how each asker hears of the end."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from skerry.hub.store.change import Change
from skerry.hub.store.errors import StoreError
from skerry.hub.store.model import Message, Outcome, Refusal, Target
from skerry.hub.store.queues import Endpoint
from skerry.hub.store.rows import Waiting

T = TypeVar("T")
Items = Sequence[tuple[Message, Sequence[Target]]]
Refusals = list[Refusal | None]


class Command(Protocol):
    """Something to do in a transaction; `lazy` may wait a little for others to share it."""

    weight: int
    lazy: bool

    def apply(self, change: Change) -> None:
        """Do it."""

    def finish(self) -> None:
        """It is committed."""

    def fail(self, refusal: Refusal, error: Exception) -> None:
        """It is not, and will not be."""


@dataclass
class Put:
    """Messages to store."""

    items: Items
    then: Callable[[Refusals], None]
    weight: int
    lazy: bool = False
    refusals: Refusals = field(default_factory=list)

    def apply(self, change: Change) -> None:
        self.refusals = [change.put(message, targets) for message, targets in self.items]

    def body_bytes(self) -> int:
        """Return about how much there is to store."""
        return sum(len(message.body) for message, _ in self.items)

    def finish(self) -> None:
        self.then(self.refusals)

    def fail(self, refusal: Refusal, error: Exception) -> None:
        self.then([refusal] * len(self.items))


@dataclass
class Done:
    """Entries that their receiver is done with."""

    endpoint: Endpoint
    entries: list[Waiting]
    outcome: Outcome
    reason: str
    future: "Future[None]"
    weight: int
    lazy: bool = True

    def apply(self, change: Change) -> None:
        change.end(self.endpoint, self.entries, self.outcome, self.reason)

    def finish(self) -> None:
        resolve(self.future, None)

    def fail(self, refusal: Refusal, error: Exception) -> None:
        reject(self.future, error)


@dataclass
class Move:
    """Entries that were handed out and go to another endpoint instead."""

    endpoint: Endpoint
    entries: list[Waiting]
    to: str
    future: "Future[None]"
    weight: int
    lazy: bool = False

    def apply(self, change: Change) -> None:
        change.move(self.endpoint, self.entries, self.to)

    def finish(self) -> None:
        resolve(self.future, None)

    def fail(self, refusal: Refusal, error: Exception) -> None:
        reject(self.future, error)


@dataclass
class Work:
    """Anything else; what it raises before it changes something goes to its asker alone."""

    run: Callable[[Change], Any]
    future: "Future[Any]"
    weight: int = 1
    lazy: bool = False
    result: Any = None
    problem: Exception | None = None

    def apply(self, change: Change) -> None:
        try:
            self.result = self.run(change)
        except StoreError as error:
            self.problem = error

    def finish(self) -> None:
        if self.problem is None:
            resolve(self.future, self.result)
        else:
            reject(self.future, self.problem)

    def fail(self, refusal: Refusal, error: Exception) -> None:
        reject(self.future, error)


def resolve(future: "Future[T]", result: T) -> None:
    """Answer whoever still waits."""
    if future.set_running_or_notify_cancel():
        future.set_result(result)


def reject(future: "Future[Any]", error: Exception) -> None:
    """Disappoint whoever still waits."""
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


class Inbox:
    """Commands that wait for the store's thread, in order."""

    def __init__(self, most: int, lazy_seconds: float) -> None:
        self._most = most
        self._lazy_seconds = lazy_seconds
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[Command] = deque()
        self._urgent = 0
        self._idle = False
        self._closed = False

    def add(self, command: Command) -> bool:
        """Queue a command; False when the store is closed."""
        with self._changed:
            if self._closed:
                return False
            self._waiting.append(command)
            self._urgent += not command.lazy
            if self._idle:
                self._changed.notify()
        return True

    def close(self) -> None:
        """Take nothing more; what is queued is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def next_batch(self, seconds: float) -> list[Command] | None:
        """Return what waits, at most for one transaction; None when closed and empty.

        Waits so long for the first command; lazy ones wait a little for others.
        """
        with self._changed:
            if not self._waiting and not self._closed:
                self._wait(seconds)
            if self._waiting and not self._urgent and not self._closed:
                self._wait(self._lazy_seconds)
            if not self._waiting:
                return None if self._closed else []
            return self._gather()

    def _wait(self, seconds: float) -> None:
        self._idle = True
        self._changed.wait(seconds)
        self._idle = False

    def _gather(self) -> list[Command]:
        batch: list[Command] = []
        weight = 0
        while self._waiting and (not batch or weight + self._waiting[0].weight <= self._most):
            command = self._waiting.popleft()
            self._urgent -= not command.lazy
            weight += command.weight
            batch.append(command)
        return batch
