"""The one thread that changes the store: takes what waits, commits it together, tells everybody.

Invariants
- Whoever is told that something is stored can rely on it at the level of durability.
- What cannot be committed for want of room is refused; what receivers are done with is kept in
  memory and tried again, so that nothing is delivered twice because a disk was full.
- A database that turns out to be damaged is replaced, and the work done on the new one.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from skerry.base.log import Logger
from skerry.hub.store.age import AgeClock
from skerry.hub.store.change import Change, Parts
from skerry.hub.store.commands import Command, Done, Inbox, Move, Put, Work
from skerry.hub.store.database import Database, is_damage, is_full
from skerry.hub.store.errors import StoreError
from skerry.hub.store.model import Refusal
from skerry.hub.store.requests import Requests
from skerry.hub.store.upkeep import Upkeep

_RETRY_SECONDS = 1.0


class Writer:
    """Runs until `close`."""

    def __init__(
        self,
        database: Database,
        parts: Parts,
        ages: AgeClock,
        log: Logger,
        replace: Callable[[], Database],
        requests: Requests,
    ) -> None:
        self.database = database
        self.problem: str | None = None
        self._parts = parts
        self._ages = ages
        self._log = log
        self._replace = replace
        self._inbox = Inbox(parts.settings.batch_messages, parts.settings.batch_seconds)
        self._kept: list[Command] = []
        self._retry_at = 0.0
        self.upkeep = Upkeep(parts, ages, log, requests)
        self._thread = threading.Thread(target=self._serve, name="hub-store", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add(self, command: Command) -> None:
        """Queue a command; a closed store fails it at once."""
        if not self._inbox.add(command):
            command.fail(
                Refusal("closed", "the store is closed"), StoreError("the store is closed")
            )

    def close(self) -> None:
        """Do what is queued, and stop."""
        self._inbox.close()
        self._thread.join()

    def _serve(self) -> None:
        while (batch := self._inbox.next_batch(self.upkeep.wait_seconds())) is not None:
            if self._kept and self._ages.now() >= self._retry_at:
                batch, self._kept = self._kept + batch, []
            if batch:
                self._commit(batch)
            self._do_upkeep()
        kept, self._kept = self._kept, []
        self._commit([*kept, Work(self.upkeep.save_mark, Future())])
        for command in self._kept:
            command.fail(
                Refusal("closed", "the store is closed"), StoreError("the store is closed")
            )

    def _do_upkeep(self) -> None:
        try:
            self.upkeep.run(self.database.writer, self._work)
        except (sqlite3.Error, OSError) as error:
            self._note(error)

    def _work(self, work: Callable[[Change], None]) -> None:
        self._commit([Work(work, Future())])

    def _commit(self, batch: Sequence[Command]) -> None:
        """Do all of a batch in one transaction; what cannot be done spoils it for nobody else."""
        try:
            change = self._applied(batch)
        except (sqlite3.Error, OSError) as error:
            self._failed(batch, error)
        except Exception as error:
            self._log.exception("something cannot be stored")
            if len(batch) == 1:
                self._failed(batch, error)
            for command in batch if len(batch) > 1 else ():
                self._commit([command])
        else:
            self.problem = None
            waking = change.publish()
            self.upkeep.note_expiry(change.soonest)
            for tell in (*(command.finish for command in batch), *waking):
                self._tell(tell)

    def _applied(self, batch: Sequence[Command]) -> Change:
        try:
            return self._apply(batch)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
        self._recover()
        return self._apply(batch)

    def _tell(self, listener: Callable[[], None]) -> None:
        """Call somebody who listens; what fails there must not stop the store."""
        try:
            listener()
        except Exception:
            self._log.exception("a listener of the store failed")

    def _apply(self, batch: Sequence[Command]) -> Change:
        to_come = sum(each.body_bytes() for each in batch if isinstance(each, Put))
        change = Change(
            self.database.writer, self._parts, self._ages.now(), self._ages.wall(), to_come
        )
        try:
            with self.database.transaction():
                for command in batch:
                    command.apply(change)
                change.flush()
        except BaseException:
            change.undo()
            raise
        return change

    def _failed(self, batch: Sequence[Command], error: Exception) -> None:
        self._note(error)
        self.upkeep.note_expiry(self._ages.now() + _RETRY_SECONDS)
        self._retry_at = self._ages.now() + _RETRY_SECONDS
        reason = "disk_full" if is_full(error) else "storage_failure"
        refusal = Refusal(reason, f"the store did not take the message: {error}")
        for command in batch:
            if isinstance(command, Done | Move):
                self._kept.append(command)
            else:
                command.fail(refusal, StoreError(f"the store did not take the change: {error}"))

    def _note(self, error: Exception) -> None:
        if self.problem is None:
            self._log.error("the store cannot write", reason=error)
        self.problem = str(error)

    def _recover(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.database.close()
        self.database = self._replace()
        self._parts.ledger.measure(self.database.writer)
        self._parts.books.open(self.database.writer)
        for endpoint in list(self._parts.books.endpoints.values()):
            if endpoint.wake is not None:
                self._tell(endpoint.wake)
