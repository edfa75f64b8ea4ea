"""Generations: whole configurations on disk, one of them in force.

    current -> generations/7           the one switch
    generations/5 6 7                  the last three
    generations/.new-8                 being written; a leftover is removed before the next is begun

A generation is written whole under its temporary name, renamed, and only then switched to. Files
that came with a configuration (keys, certificates) lie in the state folders of their services under
names that hold their content's digest; those that no kept generation names are removed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from skerry.base.files import read_limited
from skerry.config.disk import Disk
from skerry.config.plan import PlannedFile
from skerry.config.site import Ids, Paths
from skerry.config.vault import FILE as VAULT
from skerry.config.vault import Kept, read_index

KEPT = 3
_LIMIT_BYTES = 4 * 1024 * 1024
_IMPORTERS = ("keyd", "certd", "identityd", "edged", "config")


@dataclass(frozen=True)
class Generation:
    """A configuration on disk; `whole` tells whether its files are those of its manifest."""

    number: int
    input_digest: str
    files: Mapping[str, bytes]
    secrets: Mapping[str, str]
    kept: Mapping[str, Kept]
    whole: bool


@dataclass(frozen=True)
class NewGeneration:
    """A configuration to be written: planned files, and what the generation was made from.

    `needed` are files that a former generation has placed.
    """

    files: Mapping[str, PlannedFile]
    placed: Mapping[str, PlannedFile]
    needed: tuple[str, ...]
    input_digest: str
    created: datetime


class Generations:
    """Reads and writes the generations of one device."""

    def __init__(self, paths: Paths, ids: Ids, disk: Disk) -> None:
        self._paths = paths
        self._ids = ids
        self._disk = disk

    def current(self) -> Generation | None:
        """Read the configuration in force, None if there is none."""
        number = self.in_force()
        folder = self._paths.generations / str(number)
        try:
            manifest = json.loads((folder / "manifest.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        files: dict[str, bytes] = {}
        for name in manifest["files"]:
            if (folder / name).is_file():
                files[name] = read_limited(folder / name, _LIMIT_BYTES)
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        secrets = json.loads(files.get("secrets.json", b'{"secrets": {}}'))["secrets"]
        kept = read_index(files[VAULT]) if VAULT in files else {}
        there = all(Path(path).is_file() for path in manifest["placed"])
        whole = digests == manifest["files"] and there
        return Generation(number, manifest["input_digest"], files, secrets, kept, whole)

    def write(self, new: NewGeneration) -> int:
        """Write a generation whole, without switching to it; return its number."""
        self.sweep(new.needed)
        number = max(self._numbers(), default=0) + 1
        self._disk.make_folder(self._paths.generations, 0o755)
        for path, planned in new.placed.items():
            self._place(Path(path), planned)
        folder = self._paths.generations / f".new-{number}"
        self._disk.make_folder(folder, 0o755)
        for name, planned in new.files.items():
            self._disk.write(folder / name, planned.data, planned.mode, planned.uid, planned.gid)
        manifest = {
            "generation": number,
            "created": new.created.isoformat(timespec="seconds"),
            "input_digest": new.input_digest,
            "files": {n: hashlib.sha256(f.data).hexdigest() for n, f in new.files.items()},
            "placed": sorted({*new.placed, *new.needed}),
        }
        text = json.dumps(manifest, indent=1) + "\n"
        self._disk.write(folder / "manifest.json", text.encode(), 0o600)
        self._disk.rename(folder, self._paths.generations / str(number))
        return number

    def in_force(self) -> int:
        """Return the number of the generation in force, 0 for none."""
        link = self._paths.current
        return int(link.readlink().name) if link.is_symlink() else 0

    def switch(self, number: int) -> None:
        """Put a generation in force; 0 leaves the device without one."""
        if number:
            self._disk.switch(self._paths.current, f"generations/{number}")
        else:
            self._disk.remove(self._paths.current)

    def sweep(self, needed: Iterable[str] = ()) -> None:
        """Remove what a crash or a failed apply has left, and all but the last generations.

        `needed` are placed files that stay for a generation to come.
        """
        if not self._paths.generations.is_dir():
            return
        number = self.in_force()
        past = [n for n in self._numbers() if n <= number]
        kept = {str(n) for n in sorted(past)[-KEPT:]}
        for folder in sorted(self._paths.generations.iterdir()):
            if folder.name not in kept:
                self._disk.remove_folder(folder)
        named = self._placed_by(kept, needed)
        for service in _IMPORTERS:
            for path in sorted((self._paths.state / service / "imported").glob("*")):
                if named is not None and str(path) not in named:
                    self._disk.remove(path)

    def _place(self, path: Path, planned: PlannedFile) -> None:
        self._disk.make_folder(path.parent.parent, 0o700, planned.uid)
        self._disk.make_folder(path.parent, 0o700, planned.uid)
        if not path.is_file() or path.read_bytes() != planned.data:
            self._disk.write(path, planned.data, planned.mode, planned.uid, planned.gid)

    def _placed_by(self, names: Iterable[str], more: Iterable[str]) -> set[str] | None:
        """Return the files that generations need, and more; None if one of them cannot say."""
        placed = set(more)
        for name in names:
            manifest = self._paths.generations / name / "manifest.json"
            try:
                placed.update(json.loads(manifest.read_bytes())["placed"])
            except (FileNotFoundError, ValueError):
                return None
        return placed

    def _numbers(self) -> list[int]:
        if not self._paths.generations.is_dir():
            return []
        names = [folder.name for folder in self._paths.generations.iterdir()]
        return [int(name) for name in names if name.isdigit()]
