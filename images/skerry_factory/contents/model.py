"""The files of an image, wherever they come from: a disk, an archive, a folder.

Paths are relative and without a leading './', as in `etc/passwd`; the root itself has none.
"""

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from skerry_factory.gpt import Partition


class Kind(StrEnum):
    """What stands at a path."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    DEVICE = "device"
    PIPE = "pipe"
    SOCKET = "socket"

    @classmethod
    def of_mode(cls, mode: int) -> "Kind | None":
        """Return the kind that the type bits of a mode tell; None for none of these."""
        return _KINDS.get(stat.S_IFMT(mode))


_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFLNK: Kind.LINK,
    stat.S_IFBLK: Kind.DEVICE,
    stat.S_IFCHR: Kind.DEVICE,
    stat.S_IFIFO: Kind.PIPE,
    stat.S_IFSOCK: Kind.SOCKET,
}


@dataclass(frozen=True)
class Entry:
    """One path; `mode` is the 12 bits of permission, `target` that of a link."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    size_bytes: int = 0
    target: str = ""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    read: Callable[[], bytes] = field(default=lambda: b"", compare=False, repr=False)


Entries = Mapping[str, Entry]


@dataclass(frozen=True)
class Contents:
    """All that is known of an image; what is no disk has neither partitions nor boot files."""

    entries: Entries
    partitions: tuple[Partition, ...] = ()
    boot: Mapping[str, bytes] = field(default_factory=dict)

    def text(self, path: str) -> str:
        """Return a file's text; empty when it is not there."""
        entry = self.entries.get(path)
        return entry.read().decode("utf-8", "replace") if entry and entry.kind is Kind.FILE else ""
