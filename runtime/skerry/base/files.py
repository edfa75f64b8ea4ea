"""Writing files so that a reader, or a power cut, sees the old content or the new, never a mixture.

Order of every write: temporary file in the same folder, owner and mode before content, content,
fsync, rename, fsync of the folder. A crash leaves at most a temporary file `.<name>.<random>.tmp`.
"""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from skerry.base.errors import SkerryError


class FileTooLargeError(SkerryError):
    """A file is larger than its reader accepts."""

    def __init__(self, path: Path, size_bytes: int, max_bytes: int) -> None:
        super().__init__(f"{path} has {size_bytes} bytes, expected at most {max_bytes}")
        self.path = path


def write_atomic(
    path: Path, data: bytes, *, mode: int, uid: int | None = None, gid: int | None = None
) -> None:
    """Replace `path` by `data`; owner and mode are in force before the first byte is written."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            if uid is not None or gid is not None:
                os.fchown(descriptor, -1 if uid is None else uid, -1 if gid is None else gid)
            os.fchmod(descriptor, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    fsync_folder(path.parent)


def switch_symlink(link: Path, target: str) -> None:
    """Point `link` at `target` (as written, so relative targets stay relative) in one step."""
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(6)}.tmp")
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except BaseException:
        temporary.unlink()
        raise
    fsync_folder(link.parent)


def state_folder(path: Path) -> Path:
    """Make a service's own folder, 0700, and clear it of what a crash in a write left behind.

    Only for a folder that one process at a time writes to; raises SkerryError.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in path.glob(".*.tmp"):
            leftover.unlink()
    except OSError as error:
        raise SkerryError(
            f"state folder {path} cannot be used: {error.strerror}; it has to be a folder that "
            "this service owns"
        ) from error
    return path


def mark_of(*paths: Path) -> str:
    """Return what is another when one of these is; each is replaced whole, never written to."""
    marks = []
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            marks.append("-")
        else:
            marks.append(f"{found.st_dev}.{found.st_ino}.{found.st_mtime_ns}")
    return "/".join(marks)


def remove(path: Path) -> None:
    """Remove a file if it is there, and make that last."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_limited(path: Path, max_bytes: int) -> bytes:
    """Read a whole file that must not be larger than `max_bytes`."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise FileTooLargeError(path, path.stat().st_size, max_bytes)
    return data


def id_file_name(identifier: str, suffix: str = "") -> str:
    """Return the file name of an id that may hold any character: readable, unique by its hash."""
    readable = "".join(char for char in identifier if char.isascii() and char.isalnum())[:64]
    return f"{readable}-{hashlib.sha256(identifier.encode()).hexdigest()}{suffix}"
