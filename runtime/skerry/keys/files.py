"""Key files: reading them with every doubt, writing them whole or not at all.

    <state>/keys/<letters and digits of the id>-<sha256 of the id>.key   0600

What they hold is in `envelope`. Preloaded keys lie where the settings say, are not in an envelope
and are never written. Every write is atomic; a move is one rename: after a crash a key is there
under its old id or under its new one.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from skerry.base.files import fsync_folder, id_file_name, remove, state_folder, write_atomic
from skerry.keys.envelope import Entry, EnvelopeError, dump, load
from skerry.keys.errors import KeyFileError, ParameterError

MAX_SYMMETRIC_BYTES = 4096
_MAX_FILE_BYTES = 64 * 1024

Signature = tuple[int, int, int, int]
"""Device, inode, size and time of change: what tells a file from the one that was read."""


class KeyFiles:
    """The files of one keyd; `preloaded` is id -> path."""

    def __init__(self, state_dir: Path, preloaded: Mapping[str, Path]) -> None:
        self._folder = state_folder(state_dir / "keys")
        self._preloaded = preloaded

    def path(self, key_id: str) -> Path:
        """Return where the key of an id is, or would be."""
        return self._preloaded.get(key_id) or self._folder / id_file_name(key_id, ".key")

    def has(self, key_id: str) -> bool:
        """Tell whether there is a file for an id."""
        return self.path(key_id).exists()

    def signature(self, key_id: str) -> Signature | None:
        """Return what changes with the file, None without a file."""
        try:
            found = self.path(key_id).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def read(self, key_id: str) -> bytes | Entry:
        """Return the bytes of a preloaded key, the entry of any other.

        Raises: ParameterError when there is no file, KeyFileError when it cannot be used.
        """
        path = self.path(key_id)
        try:
            data = _read_regular(path)
        except FileNotFoundError as error:
            where = f": no file {path}" if key_id in self._preloaded else ""
            raise ParameterError(f"there is no key {key_id!r}{where}") from error
        except OSError as error:
            raise KeyFileError(f"key file {path} cannot be read: {error.strerror}") from error
        if key_id in self._preloaded:
            if not data:
                raise KeyFileError(f"key file {path} is empty; remove it or restore it")
            return data
        try:
            return load(data)
        except EnvelopeError as error:
            raise KeyFileError(
                f"key file {path} {error}; restore it from a backup, or remove it to have a new key"
            ) from error

    def write(self, key_id: str, entry: Entry) -> None:
        """Store a key, replacing one of the same id."""
        path = self._own_path(key_id)
        with _told(f"key file {path} cannot be written"):
            write_atomic(path, dump(entry), mode=0o600)

    def move(self, source: str, target: str) -> None:
        """Give a key another id, replacing what was there."""
        old, new = self._own_path(source), self._own_path(target)
        with _told(f"key file {old} cannot become {new}"):
            os.replace(old, new)  # noqa: PTH105 - one system call
            fsync_folder(self._folder)

    def delete(self, key_id: str) -> None:
        """Remove a key; removing one that is gone already is no error."""
        path = self._own_path(key_id)
        with _told(f"key file {path} cannot be removed"):
            remove(path)

    def _own_path(self, key_id: str) -> Path:
        if key_id in self._preloaded:
            raise ParameterError(
                f"key {key_id!r} is preloaded from {self._preloaded[key_id]} and not changed here"
            )
        return self._folder / id_file_name(key_id, ".key")


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeyFileError(f"{what}: {error.strerror}; the key is what it was") from error


def _read_regular(path: Path) -> bytes:
    """Read a file that must be a regular one: a pipe would hold up the service for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise KeyFileError(f"key file {path} is not a regular file; put the key there")
        if found.st_size > _MAX_FILE_BYTES:
            raise KeyFileError(
                f"key file {path} has {found.st_size} bytes, expected at most {_MAX_FILE_BYTES}"
            )
        return os.read(descriptor, _MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
