"""Test tiers: what belongs to one, their order, how long a test may take, how often it repeats.

A test's tier is the last of `TIMEOUT_SECONDS` that it is marked with; without a mark it is
`default`. Repeated work (kills, cut points, boots) asks `Counts.of`, so that `make test` runs few
of them, `make soak` all, and both leave a record of what they ran.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT_SECONDS = {
    "default": 60,
    "engine": 300,
    "root": 900,
    "sdk": 300,
    "faults": 900,
    "vm": 1800,
    "perf": 3600,
    "appliance": 120,
}
"""Seconds for one test of each tier. In running order: fast first, then what needs the image."""


def tier_of(marks: Iterable[str]) -> str:
    marked = set(marks)
    return next((tier for tier in reversed(TIMEOUT_SECONDS) if tier in marked), "default")


@dataclass
class Counts:
    """How often repeated tests repeat in this run; `used` is what they were told."""

    full: bool
    used: dict[str, int] = field(default_factory=dict)

    def of(self, name: str, *, reduced: int, full: int) -> int:
        self.used[name] = full if self.full else reduced
        return self.used[name]

    def write(self, path: Path, tests: dict[str, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "counts": "full" if self.full else "reduced",
            "tests": tests,
            "repeats": dict(sorted(self.used.items())),
        }
        path.write_text(json.dumps(record, indent=2) + "\n")


@dataclass
class Durations:
    """Seconds and tests per tier, as they are run."""

    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[str, int] = field(default_factory=dict)

    def add(self, tier: str, seconds: float, *, finished: bool) -> None:
        self.seconds[tier] = self.seconds.get(tier, 0.0) + seconds
        self.tests[tier] = self.tests.get(tier, 0) + finished

    def lines(self) -> list[str]:
        return [
            f"{tier:<10}{self.tests[tier]:5d} tests  {self.seconds[tier]:8.1f} s"
            for tier in TIMEOUT_SECONDS
            if tier in self.tests
        ]
