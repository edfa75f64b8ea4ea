"""Folders `quarantine-N` with databases that were moved aside: bounded, and named when they go.

Invariants
- At most `most` of them stay, and older ones only while all of them together hold no more than
  `max_bytes`; the newest stays whatever its size, for it may hold what could not be taken over.
- When the disk is too full for messages they make room, the oldest first, the newest too.

On the store's thread.
"""

import re
import shutil
from pathlib import Path

from skerry.base.log import Logger

_NAME = re.compile(r"quarantine-(\d+)")


class Quarantine:
    """The folders of one store."""

    def __init__(self, folder: Path, most: int, max_bytes: int, log: Logger) -> None:
        self._folder = folder
        self._most = most
        self._max_bytes = max_bytes
        self._log = log

    def paths(self) -> list[Path]:
        """Return the folders, the oldest first."""
        found = ((_NAME.fullmatch(path.name), path) for path in self._folder.glob("quarantine-*"))
        return [path for _, path in sorted((int(name[1]), path) for name, path in found if name)]

    def make(self) -> Path:
        """Return a new folder, the newest."""
        former = self.paths()
        number = int(former[-1].name.rpartition("-")[2]) + 1 if former else 1
        made = self._folder / f"quarantine-{number}"
        made.mkdir(mode=0o700)
        return made

    def bound(self) -> None:
        """Remove what is too many or too much."""
        paths = self.paths()
        sizes = [size_bytes(path) for path in paths]
        while len(paths) > 1 and (len(paths) > self._most or sum(sizes) > self._max_bytes):
            self._remove(paths.pop(0), sizes.pop(0), "there are newer ones")

    def make_room(self) -> None:
        """Remove the oldest, if there is one: messages need its room."""
        for path in self.paths()[:1]:
            self._remove(path, size_bytes(path), "the disk is full")

    def _remove(self, path: Path, size: int, reason: str) -> None:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            self._log.error("a damaged store cannot be removed", folder=path)
        else:
            self._log.warning("a damaged store is removed", folder=path, octets=size, reason=reason)


def size_bytes(folder: Path) -> int:
    """Return what the files of a folder hold, as far as they can be seen."""
    total = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # removed meanwhile
    return total
