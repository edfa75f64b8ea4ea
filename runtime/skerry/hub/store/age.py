"""The store's own time, by which messages expire: seconds of its life, never going back.

Wall clocks of devices jump, by a year when a battery is empty or a time server is wrong, and what
expired by mistake is lost. So:
- while the process runs, and over its restarts within one boot, only the monotonic clock counts;
- over a reboot the wall clock is all there is: the gap counts when it is between zero and
  `believed_gap_seconds`, else not at all. A message may then live longer than asked, never shorter.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from skerry.base.clock import Clock
from skerry.base.log import Logger

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Mark:
    """One moment in three times."""

    age: float
    wall: float
    monotonic: float
    boot: str

    def dump(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def load(text: str) -> "Mark | None":
        """Read what `dump` wrote; None when it is something else."""
        try:
            found = json.loads(text)
            age, wall, monotonic = (float(found[name]) for name in ("age", "wall", "monotonic"))
            return Mark(age, wall, monotonic, str(found["boot"]))
        except (ValueError, TypeError, LookupError):
            return None


def boot_id(path: Path = BOOT_ID) -> str:
    """Return what names this boot of the machine, empty where nothing does."""
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""


class AgeClock:
    """Tells the age; begins where the last mark says it was."""

    def __init__(
        self, clock: Clock, boot: str, last: Mark | None, believed_seconds: float, log: Logger
    ) -> None:
        self._clock = clock
        self._boot = boot
        self._start = clock.monotonic()
        self._age = self._base = _age_after(last, self.mark_at(0.0), believed_seconds, log)

    def now(self) -> float:
        """Return seconds of life."""
        self._age = max(self._age, self._base + self._clock.monotonic() - self._start)
        return self._age

    def wall(self) -> float:
        """Return wall time in seconds, whatever it is worth."""
        return self._clock.now().timestamp()

    def mark(self) -> Mark:
        """Return this moment, to be stored."""
        return self.mark_at(self.now())

    def mark_at(self, age: float) -> Mark:
        """Return this moment with a given age."""
        return Mark(age, self.wall(), self._clock.monotonic(), self._boot)


def _age_after(last: Mark | None, now: Mark, believed_seconds: float, log: Logger) -> float:
    if last is None:
        return 0.0
    if now.boot and now.boot == last.boot and now.monotonic >= last.monotonic:
        return last.age + now.monotonic - last.monotonic
    gap = now.wall - last.wall
    if 0 <= gap <= believed_seconds:
        return last.age + gap
    log.warning("the clock has jumped since the last boot; nothing expires by it", seconds=int(gap))
    return last.age
