"""Results of build steps, kept under the sha256 of everything that went into them.

    <cache>/lock                     held while a build runs
    <cache>/entries/<step>/<key>/    one result: a folder, written whole or not at all
    <cache>/making/<random>/         what a running build writes; the next build removes left-overs

An entry is made in `making` and renamed into place, so a crash leaves no half entry. Entries are
never changed afterwards. Folders may belong to sub-ids of the operator: they are removed from
inside the namespace of a build.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skerry_factory.errors import BusyError

CHUNK_BYTES = 1 << 20
IGNORED_NAMES = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"})


@dataclass(frozen=True)
class Cache:
    """One cache folder."""

    root: Path

    def entry(self, step: str, key: str) -> Path:
        """Return where the result of a step is, or would be."""
        return self.root / "entries" / step / key

    def has(self, step: str, key: str) -> bool:
        """Tell whether a result is there."""
        return self.entry(step, key).is_dir()

    def fetch(self, step: str, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder of a result; `make` fills a new folder when there is none yet."""
        entry = self.entry(step, key)
        if not entry.is_dir():
            folder = self.new_folder(step)
            make(folder)
            self.store(step, key, folder)
        return entry

    def store(self, step: str, key: str, folder: Path) -> Path:
        """Make a folder of `making` the result of a step; a result that is there already stays."""
        entry = self.entry(step, key)
        entry.parent.mkdir(parents=True, exist_ok=True)
        if entry.is_dir():
            remove_tree(folder)
        else:
            folder.rename(entry)
        return entry

    def new_folder(self, name: str) -> Path:
        """Make an empty folder for what is being written."""
        folder = self.root / "making" / f"{name}.{secrets.token_hex(6)}"
        folder.mkdir(parents=True)
        return folder

    def remove_leftovers(self) -> None:
        """Remove what builds that were killed left behind; call with the lock held."""
        remove_tree(self.root / "making")


@contextmanager
def exclusive(file: Path, busy: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file; when it is taken, wait after calling `waiting`, else raise BusyError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if waiting is None:
                raise BusyError(busy) from error
            waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def key_of(*parts: object) -> str:
    """Return the key of a step from its inputs: anything that JSON can hold."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_files(paths: Iterable[Path]) -> str:
    """Return one digest over files and folders: names, kinds, executable bits and contents."""
    digest = hashlib.sha256()
    for path in paths:
        for file in _files_of(path):
            name = file.relative_to(path.parent)
            digest.update(f"{name}\0{_kind_of(file)}\0".encode())
            if file.is_symlink():
                digest.update(str(file.readlink()).encode())
            elif file.is_file():
                digest.update(bytes.fromhex(digest_of_file(file)))
    return digest.hexdigest()


def digest_of_file(file: Path) -> str:
    """Return the sha256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_tree(folder: Path) -> None:
    """Remove a folder and all below it; absent is fine."""
    if folder.is_dir():
        shutil.rmtree(folder)


def _files_of(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            if child.name not in IGNORED_NAMES and child.suffix != ".pyc":
                yield from _files_of(child)
    elif path.is_symlink() or path.exists():
        yield path


def _kind_of(file: Path) -> str:
    if file.is_symlink():
        return "link"
    return "program" if file.stat().st_mode & 0o100 else "file"
