"""How much the store may still take: its own cap, the disk's free space, and a forecast."""

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from skerry.hub.store.model import Refusal, StoreSettings

_SAMPLE_SECONDS, _WINDOW_SECONDS = 5.0, 60.0
_LOOK_SECONDS, _LOOK_BYTES = 1.0, 4 * 1024 * 1024


def free_bytes(folder: Path) -> int:
    """Return what the disk below a folder has left for this user."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Room:
    """Decides whether a message fits; on the store's thread."""

    def __init__(self, folder: Path, settings: StoreSettings) -> None:
        self._folder = folder
        self._settings = settings
        self.max_bytes, self.policy = settings.max_bytes, settings.policy
        self._free = free_bytes(folder)
        self._looked_at = 0.0
        self._since = 0
        self.reusable = 0  # bytes of free pages within the database

    @property
    def disk_free(self) -> int:
        """What the disk had left when it was last looked at."""
        return self._free

    @property
    def is_short(self) -> bool:
        """Whether no more may be written than others leave."""
        return self._free - self._since + self.reusable <= self._settings.min_free_bytes

    def look(self, now: float, *, reusable: int) -> None:
        """Look at the disk, if that is due."""
        if now - self._looked_at >= _LOOK_SECONDS or self._since >= _LOOK_BYTES:
            self._free, self.reusable = free_bytes(self._folder), reusable
            self._looked_at, self._since = now, 0

    def look_soon(self) -> None:
        """The disk has changed: look whenever that is next asked for."""
        self._looked_at = float("-inf")

    def missing(self, held: int, size: int) -> int:
        """Return how many bytes must go before so many more fit; 0 or less: they fit."""
        return max(held + size - self.max_bytes, self._disk_short(size))

    def took(self, size: int) -> None:
        """Note that so much was written."""
        self._since += size

    def refusal(self, held: int, size: int) -> Refusal:
        """Return why so many bytes do not fit."""
        if self.is_short:
            return Refusal(
                "disk_full",
                f"the disk of {self._folder} has {self._free} bytes left, expected "
                f"{self._settings.min_free_bytes}; free some",
            )
        return Refusal(
            "store_full",
            f"{held} bytes of messages wait, at most {self.max_bytes} may; drain a "
            "queue, purge it or raise the limit",
        )

    def _disk_short(self, size: int) -> int:
        return size if self.is_short else 0


@dataclass(frozen=True, slots=True)
class Sample:
    """Numbers at one moment."""

    at: float
    held: int
    came: dict[int, int]
    went: dict[int, int]


class Rates:
    """What went in and out of each queue over the last minute."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    def due(self, now: float) -> bool:
        """Return whether another sample is wanted."""
        return not self._samples or now - self._samples[-1].at >= _SAMPLE_SECONDS

    def add(self, sample: Sample) -> None:
        """Take a sample; old ones go."""
        self._samples.append(sample)
        while sample.at - self._samples[0].at > _WINDOW_SECONDS:
            self._samples.popleft()

    def of(self, queue: int, now: Sample) -> tuple[float, float]:
        """Return messages in and out a second."""
        if not self._samples or now.at <= self._samples[0].at:
            return 0.0, 0.0
        first = self._samples[0]
        seconds = now.at - first.at
        came = now.came.get(queue, 0) - first.came.get(queue, 0)
        went = now.went.get(queue, 0) - first.went.get(queue, 0)
        return came / seconds, went / seconds

    def full_in_seconds(self, now: Sample, left: int) -> float | None:
        """Return when `left` bytes are used up at this minute's rate; None: never."""
        if not self._samples or now.at <= self._samples[0].at:
            return None
        first = self._samples[0]
        growth = (now.held - first.held) / (now.at - first.at)
        return max(left, 0) / growth if growth > 0 else None
