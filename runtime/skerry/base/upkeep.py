"""What a service has to do at a certain time, also when nobody calls it: renewals, above all.

A job says when it is next due; `Upkeep` does it then, in a thread of its own, while the service
runs. Before the service exits the next deadline is in a file, and `GET /deadline` tells it to
edged, which always runs and calls the service when that time has come.

    <state>/deadline.json    {"at": "<RFC 3339 UTC>", "reason": "…", "failed": {job: time}}; 0644

Invariants
- A job that fails is tried again when it says so itself; the time of the failure outlives the
  process, so that a restart is no reason to ask a server again.
- Wall time decides, looked at once a minute at least: a clock that jumps is noticed.
- A time of failure that lies in the future, by a clock that was set back, counts for nothing.
"""

import contextlib
import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.files import remove, write_atomic
from skerry.base.log import Logger

FILE = "deadline.json"
_LOOK_SECONDS = 60.0
_PAUSE = timedelta(minutes=1)
"""Between two runs of a job that is due at once again, and before one is asked again."""


@dataclass(frozen=True)
class Deadline:
    """When a service has something to do, and what."""

    at: datetime
    reason: str


class Job(Protocol):
    """One thing to do again and again."""

    @property
    def name(self) -> str:
        """What is done, as the log and the deadline say it; tells jobs apart."""

    def due(self, failed_at: datetime | None) -> datetime | None:
        """Return when it is next to be done, None for never; `failed_at` is the last try's."""

    def perform(self) -> None:
        """Do it; raises SkerryError or OSError when it has to be tried again."""


class Upkeep:
    """The jobs of one service."""

    def __init__(self, state_dir: Path, clock: Clock, log: Logger) -> None:
        self._file = state_dir / FILE
        self._clock = clock
        self._log = log
        self._jobs: list[Job] = []
        self._failed = _read_failures(self._file)
        self._done: dict[str, datetime] = {}
        self._known: Deadline | None = None
        self._stored: bytes | None = None
        self._changed = threading.Event()
        self._looked = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def add(self, job: Job) -> None:
        """Take on a job, before `start`."""
        self._jobs.append(job)

    def start(self, busy: Callable[[], AbstractContextManager[None]]) -> None:
        """Do the jobs in the background; `busy` keeps the service from exiting meanwhile."""
        if self._jobs:
            self._thread = threading.Thread(
                target=self._run, args=(busy,), name="upkeep", daemon=True
            )
            self._thread.start()

    def stop(self, wait_seconds: float = 0) -> None:
        """Begin no further job; wait so long for the present one."""
        self._stopping = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join(wait_seconds)

    def changed(self) -> None:
        """Look again at what is due: a request may have changed it."""
        self._changed.set()

    def deadline(self, wait_seconds: float = 0) -> Deadline | None:
        """Return what is next, None for nothing; waits so long for the first look."""
        if self._thread is not None:
            self._looked.wait(wait_seconds)
        return self._known

    def run_due(self) -> Deadline | None:
        """Do what is due now and return what is next."""
        for job in self._jobs:
            at = self._due(job)
            if at is not None and at <= self._clock.now() and not self._stopping:
                self._publish()
                self._perform(job)
        self._publish()
        return self._known

    def _run(self, busy: Callable[[], AbstractContextManager[None]]) -> None:
        while not self._stopping:
            self._changed.clear()
            before = self._clock.now()
            with busy():
                self.run_due()
            while not self._changed.wait(self._seconds_to_wait()):
                now = self._clock.now()
                if now < before or (self._known is not None and now >= self._known.at):
                    break

    def _seconds_to_wait(self) -> float:
        if self._known is None:
            return _LOOK_SECONDS
        left = (self._known.at - self._clock.now()).total_seconds()
        return min(max(left, 1.0), _LOOK_SECONDS)

    def _perform(self, job: Job) -> None:
        try:
            job.perform()
        except (SkerryError, OSError) as error:
            self._log.error("not done; it will be tried again", job=job.name, reason=error)
            self._failed[job.name] = self._clock.now()
        else:
            self._log.info("done", job=job.name)
            self._failed.pop(job.name, None)
            self._done[job.name] = self._clock.now()

    def _due(self, job: Job) -> datetime | None:
        failed_at = self._failed.get(job.name)
        if failed_at is not None and failed_at > self._clock.now():
            failed_at = None
        try:
            at = job.due(failed_at)
        except (SkerryError, OSError) as error:
            self._log.warning("not known when it is due", job=job.name, reason=error)
            return self._clock.now() + _PAUSE
        done_at = self._done.get(job.name)
        if at is None or done_at is None or done_at > self._clock.now():
            return at
        return max(at, done_at + _PAUSE)

    def _publish(self) -> None:
        found = [Deadline(at, job.name) for job in self._jobs if (at := self._due(job))]
        self._known = min(found, key=lambda deadline: deadline.at, default=None)
        try:
            self._store()
        except OSError as error:  # a full disk: edged asks the running service
            self._log.error("the deadline cannot be stored", path=self._file, reason=error)
        self._looked.set()

    def _store(self) -> None:
        if self._known is None and not self._failed:
            remove(self._file)
            return
        failed = {name: rfc3339(at) for name, at in self._failed.items()}
        data = json.dumps({**as_json(self._known), "failed": failed}).encode()
        if data != self._stored:
            write_atomic(self._file, data, mode=0o644)
            self._stored = data


def as_json(deadline: Deadline | None) -> dict[str, object]:
    """Return the answer of `GET /deadline`."""
    if deadline is None:
        return {"at": None, "reason": None}
    return {"at": rfc3339(deadline.at), "reason": deadline.reason}


def rfc3339(moment: datetime) -> str:
    """Return a time in whole seconds with `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _read_failures(file: Path) -> dict[str, datetime]:
    # what cannot be read costs one try too early
    failed: dict[str, datetime] = {}
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        for name, text in json.loads(file.read_bytes())["failed"].items():
            failed[name] = datetime.fromisoformat(text).astimezone(UTC)
    return failed
