"""Which images edged has brought to this device, and when each was last of use.

    <state>/gc/image_use    a line `sha256:<id> <unix seconds>` for each; 0600
    <state>/gc/collected    unix seconds of the last collection

What is not in the first file is not ours to remove. A line that cannot be read is passed over: its
image then stays for ever, which is the harmless way to be wrong.
"""

import re
import threading
from datetime import UTC, datetime
from pathlib import Path

from skerry.base.clock import Clock
from skerry.base.files import FileTooLargeError, read_limited, write_atomic

_LINE = re.compile(r"(sha256:[0-9a-f]{64}) (\d{1,15})")
_MAX_BYTES = 4 * 1024 * 1024
_WORTH_A_WRITE_SECONDS = 3600
"""Flash wears out, and ages are counted in days."""


class ImageUse:
    """Keeps the times; every method may be called from any thread."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._file = folder / "image_use"
        self._collected = folder / "collected"
        self._clock = clock
        self._lock = threading.Lock()

    def brought(self, image_id: str) -> None:
        """Note an image that edged has fetched or loaded."""
        self._note({image_id}, known_only=False)

    def touched(self, image_ids: set[str]) -> None:
        """Note that images are of use; those that edged has not brought are passed over."""
        self._note(image_ids, known_only=True)

    def older_than(self, seconds: int) -> list[str]:
        """Return the images that were of no use for so long, the oldest first."""
        limit = self._now() - seconds
        with self._lock:
            known = self._read()
        return sorted((i for i, at in known.items() if at < limit), key=lambda i: known[i])

    def forget(self, image_id: str) -> None:
        """Drop an image that is gone."""
        with self._lock:
            known = self._read()
            if known.pop(image_id, None) is not None:
                self._write(known)

    def last_collection(self) -> datetime | None:
        """Return when images were last removed; None when never, or when that is in the future."""
        try:
            seconds = int(read_limited(self._collected, _MAX_BYTES))
        except (OSError, ValueError, FileTooLargeError):
            return None
        return None if seconds > self._now() else datetime.fromtimestamp(seconds, UTC)

    def collected(self) -> None:
        """Note that images have been removed now."""
        self._put(self._collected, f"{self._now()}\n")

    def _note(self, image_ids: set[str], *, known_only: bool) -> None:
        now = self._now()
        with self._lock:
            known = self._read()
            if known_only:
                image_ids = image_ids & known.keys()
            # a time in the future was written before the clock was set right
            stale = {i for i in image_ids if abs(now - known.get(i, 0)) >= _WORTH_A_WRITE_SECONDS}
            if stale:
                self._write({**known, **dict.fromkeys(stale, now)})

    def _read(self) -> dict[str, int]:
        try:
            text = read_limited(self._file, _MAX_BYTES).decode("ascii", "replace")
        except (OSError, FileTooLargeError):
            return {}
        found = (_LINE.fullmatch(line) for line in text.splitlines())
        return {match[1]: int(match[2]) for match in found if match}

    def _write(self, known: dict[str, int]) -> None:
        self._put(self._file, "".join(f"{i} {at}\n" for i, at in sorted(known.items())))

    def _put(self, file: Path, text: str) -> None:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(file, text.encode("ascii"), mode=0o600)

    def _now(self) -> int:
        return int(self._clock.now().timestamp())
