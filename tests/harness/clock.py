"""Time that a test moves."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass
class MovableClock:
    """Begins now, to the second, unless a test says otherwise."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def now(self) -> datetime:
        """Return the wall time."""
        return self.time

    def monotonic(self) -> float:
        """Return seconds that go with the wall time."""
        return self.time.timestamp()

    def move(self, span: timedelta) -> None:
        """Let time pass, or go back."""
        self.time += span
