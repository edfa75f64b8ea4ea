"""Wakes the services that sleep, when the time has come for what they have to do.

certd and identityd exit when they are idle. What they have to do later, a renewal say, they tell in
`GET /deadline`; the call alone starts them, and started they do what is due (base/upkeep). edged,
which always runs, asks:

- at its start, for nobody else knows what lies in their state folders;
- when a deadline has come, and everybody a minute later: one may have given another work;
- when a certificate was made or the configuration changed, and once a day to be sure.

Wall time decides, looked at once a minute: a clock that jumps ahead wakes at once. One that jumps
back asks again, as the answers were given under another clock.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.log import Logger

_LOOK_SECONDS = 60.0
_BELIEVED = timedelta(days=1)
_AT_LEAST = timedelta(minutes=1)
_WHEN_UNREACHABLE = timedelta(minutes=1)


class Asks(Protocol):
    """One service, as `ServiceClient` has it."""

    def get(self, path: str) -> object:
        """Return the JSON answer of a path; raises ApiError and UnreachableError."""


@dataclass
class _Sleeper:
    service: Asks
    ask_at: datetime | None = None
    asked_at: datetime | None = None
    trouble: str = ""


@dataclass
class Waker:
    """Asks each service when it is time; `configuration` tells which one is in force."""

    services: Mapping[str, Asks]
    configuration: Callable[[], str]
    clock: Clock
    log: Logger
    _sleepers: dict[str, _Sleeper] = field(init=False)
    _seen: str | None = field(default=None, init=False)
    _again: threading.Event = field(default_factory=threading.Event, init=False)
    _stopping: bool = field(default=False, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._sleepers = {name: _Sleeper(service) for name, service in self.services.items()}

    def start(self) -> None:
        """Begin, in the background."""
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
        self._thread.start()

    def stop(self, wait_seconds: float = 0) -> None:
        """Ask nobody any more."""
        self._stopping = True
        self._again.set()
        if self._thread is not None:
            self._thread.join(wait_seconds)

    def ask_again(self) -> None:
        """Believe no earlier answer: a service may have something new to do."""
        self._again.set()

    def look(self, *, anew: bool = False) -> None:
        """Ask whom it is time to ask, everybody with `anew`."""
        configuration = self.configuration()
        anew = anew or configuration != self._seen
        self._seen = configuration
        now = self.clock.now()
        woken = [
            name
            for name, sleeper in self._sleepers.items()
            if anew
            or sleeper.ask_at is None
            or now >= sleeper.ask_at
            or (sleeper.asked_at is not None and now < sleeper.asked_at)
        ]
        for name in woken:
            if self._stopping:
                return
            if self._ask(name, self._sleepers[name], now):
                self._follow_up(now)

    def _follow_up(self, now: datetime) -> None:
        for sleeper in self._sleepers.values():
            if sleeper.ask_at is not None:
                sleeper.ask_at = min(sleeper.ask_at, now + _AT_LEAST)

    def _run(self) -> None:
        anew = True
        while not self._stopping:
            try:
                self.look(anew=anew)
            except Exception:  # the edge of this thread: what it does must go on
                self.log.exception("waker failed")
            anew = self._again.wait(_LOOK_SECONDS)
            self._again.clear()

    def _ask(self, name: str, sleeper: _Sleeper, now: datetime) -> bool:
        """Ask one service; returns whether it has something to do now."""
        sleeper.asked_at = now
        try:
            at, reason = _deadline(sleeper.service.get("/deadline"))
        except SkerryError as error:
            sleeper.ask_at = now + _WHEN_UNREACHABLE
            if sleeper.trouble != str(error):
                sleeper.trouble = str(error)
                self.log.warning("deadline not known", service=name, reason=error)
            return False
        sleeper.trouble = ""
        sleeper.ask_at = now + _BELIEVED
        if at is None:
            return False
        sleeper.ask_at = max(min(sleeper.ask_at, at), now + _AT_LEAST)
        # a service that took its time to start may call due what became so meanwhile
        due = at <= self.clock.now()
        if due:
            self.log.info("woken for what is due", service=name, job=reason)
        return due


def _deadline(answer: object) -> tuple[datetime | None, str]:
    at = answer.get("at") if isinstance(answer, dict) else None
    reason = answer.get("reason") if isinstance(answer, dict) else None
    try:
        moment = None if at is None else datetime.fromisoformat(str(at))
    except ValueError:
        moment = None
    if moment is not None and moment.tzinfo is None:
        moment = None
    return moment, str(reason)
