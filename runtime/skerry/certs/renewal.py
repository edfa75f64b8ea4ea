"""When a certificate is renewed: arithmetic on its life, without I/O and without a clock.

A policy is upstream's `auto_renew` table. Its spans are a share of the certificate's life (`80%`),
or a time (`10day`, `36h`, `30min`, and the short forms `10d`, `30m`). `threshold` as a share counts
from the beginning, as a time from the end; `retry` is the pause after a failed try.

Two rules that upstream has not:
- A threshold that is reached as soon as the certificate is there means the middle of its life.
  Taken by its letter the certificate would be renewed without end.
- After the end, tries are five minutes apart at most: nothing is gained by waiting.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.x509 import Certificate

from skerry.base.errors import SettingsError

_SPAN = re.compile(r"([1-9]\d{0,8})(%|min|m|hour|h|day|d)")
_UNITS = {
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "hour": timedelta(hours=1),
    "d": timedelta(days=1),
    "day": timedelta(days=1),
}
_MAX_DAYS = 36500
_SOONEST = timedelta(minutes=6)
"""After the beginning, which our certificates have five minutes before they are issued."""
_SHORTEST_PAUSE = timedelta(minutes=1)
_PAUSE_WHEN_EXPIRED = timedelta(minutes=5)


@dataclass(frozen=True)
class Life:
    """The validity of a certificate."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    def holds(self, now: datetime) -> bool:
        """Tell whether the certificate is valid now."""
        return self.start <= now < self.end


@dataclass(frozen=True)
class Span:
    """A share of a life, or a time."""

    percent: int | None
    time: timedelta = timedelta()

    def of(self, length: timedelta) -> timedelta:
        """Return the time it means for a certificate that lives so long."""
        return self.time if self.percent is None else length * self.percent / 100


@dataclass(frozen=True)
class RenewalPolicy:
    """An `auto_renew` table."""

    rotate_key: bool = True
    threshold: Span = Span(80)
    retry: Span = Span(4)

    def due(self, life: Life) -> datetime:
        """Return when the first try is made."""
        span = self.threshold.of(life.length)
        due = life.end - span if self.threshold.percent is None else life.start + span
        return due if due - life.start >= _SOONEST else life.start + life.length / 2

    def pause(self, life: Life) -> timedelta:
        """Return how long to wait after a try that failed."""
        return max(self.retry.of(life.length), _SHORTEST_PAUSE)

    def next_try(self, life: Life, failed_at: datetime | None = None) -> datetime:
        """Return when to try next, where the last try since the certificate came failed then."""
        due = self.due(life)
        if failed_at is None or failed_at < life.start:
            return due
        again = failed_at + self.pause(life)
        if again > life.end:
            # one try as it ends, and soon after each other from then on
            again = max(min(again, life.end), failed_at + _PAUSE_WHEN_EXPIRED)
        return max(due, again)

    def is_due(self, life: Life, now: datetime, failed_at: datetime | None = None) -> bool:
        """Tell whether to try now; a certificate that is not valid yet is due as well.

        The latter is left behind by a clock that was ahead when the certificate was issued.
        """
        if now < life.start:
            return failed_at is None or failed_at > now or now - failed_at >= _PAUSE_WHEN_EXPIRED
        return now >= self.next_try(life, failed_at)


def life_of(certificate: Certificate) -> Life:
    """Return the validity of a certificate."""
    return Life(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def parse_span(text: object, where: str) -> Span:
    """Read `80%`, `10day`, `36h` or `30min`; raises SettingsError."""
    found = _SPAN.fullmatch(text) if isinstance(text, str) else None
    if found is not None:
        number, unit = int(found[1]), found[2]
        if unit != "%" and number * _UNITS[unit] <= timedelta(days=_MAX_DAYS):
            return Span(None, number * _UNITS[unit])
        if unit == "%" and number < 100:
            return Span(number)
    raise SettingsError(
        f"{where} is {text!r}, expected a share such as '80%', or a time such as '10day', '36h' "
        "or '30min'"
    )


def parse_policy(table: object, where: str) -> RenewalPolicy:
    """Read an `auto_renew` table, all of whose keys are optional; raises SettingsError."""
    if not isinstance(table, Mapping):
        raise SettingsError(f"{where} is {table!r}, expected a table")
    rotate_key = table.get("rotate_key", True)
    if not isinstance(rotate_key, bool):
        raise SettingsError(f"{where}.rotate_key is {rotate_key!r}, expected true or false")
    return RenewalPolicy(
        rotate_key,
        parse_span(table.get("threshold", "80%"), f"{where}.threshold"),
        parse_span(table.get("retry", "4%"), f"{where}.retry"),
    )
