"""Every change that apply makes to the disk, one method each.

A collaborator, so that a test can cut the power between any two of them.
"""

import os
import shutil
from pathlib import Path
from typing import Protocol

from skerry.base import files


class Disk(Protocol):
    """Changes to the disk; each lasts through a power cut once the method has returned."""

    def make_folder(self, path: Path, mode: int, uid: int | None = None) -> None: ...

    def write(
        self, path: Path, data: bytes, mode: int, uid: int | None = None, gid: int | None = None
    ) -> None: ...

    def rename(self, old: Path, new: Path) -> None: ...

    def switch(self, link: Path, target: str) -> None: ...

    def remove(self, path: Path) -> None: ...

    def remove_folder(self, path: Path) -> None: ...


class RealDisk:
    """The disk of this machine."""

    def make_folder(self, path: Path, mode: int, uid: int | None = None) -> None:
        """Make a folder with its owner and mode if there is none; its parents are open to all."""
        if path.is_dir():
            return
        if not path.parent.is_dir():
            self.make_folder(path.parent, 0o755)
        path.mkdir(mode=0o700)
        if uid is not None:
            os.chown(path, uid, uid)
        path.chmod(mode)
        files.fsync_folder(path.parent)

    def write(
        self, path: Path, data: bytes, mode: int, uid: int | None = None, gid: int | None = None
    ) -> None:
        files.write_atomic(path, data, mode=mode, uid=uid, gid=gid)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)
        files.fsync_folder(new.parent)

    def switch(self, link: Path, target: str) -> None:
        files.switch_symlink(link, target)

    def remove(self, path: Path) -> None:
        files.remove(path)

    def remove_folder(self, path: Path) -> None:
        shutil.rmtree(path)
        files.fsync_folder(path.parent)
