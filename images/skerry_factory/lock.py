"""The lock of a definition: every Debian package that a build takes from outside, by sha256.

    images/linux/<id>/image.lock     name, version, architecture, bytes, sha256 of each package
    <cache>/store/<2 digits>/<sha256>.deb   the packages, for all definitions together

A package of the store is used only after its content has been compared with the lock.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from skerry.base.files import write_atomic
from skerry_factory.cache import Cache, digest_of_file, key_of
from skerry_factory.command import run_command
from skerry_factory.definition import Definition
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError

NAME = "image.lock"
STORE = "store"
RELEASE = """\
Suite: {suite}
Codename: {suite}
Date: {date}
SHA256:
 {sha256} {size} Packages
"""
SHOWN = 5


@dataclass(frozen=True, order=True)
class Package:
    """One package as it is locked."""

    name: str
    arch: str
    version: str
    size_bytes: int
    sha256: str
    priority: str
    """The archive's own, which decides what a bootstrap asks for; a package may say another."""

    @property
    def pinned(self) -> str:
        """Return what apt calls exactly this package."""
        arch = "" if self.arch == "all" else f":{self.arch}"
        return f"{self.name}{arch}={self.version}"


@dataclass(frozen=True)
class Lock:
    """What a build of a definition takes from outside; `asked` is what it was resolved for."""

    asked: str
    packages: tuple[Package, ...]

    @property
    def digest(self) -> str:
        return key_of([asdict(package) for package in self.packages])


def lock_file(definition: Definition) -> Path:
    """Return where the lock of a definition is."""
    return definition.file.with_name(NAME)


def read_lock(file: Path) -> Lock:
    """Read a lock; raises FactoryError when it is missing or is none."""
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        packages = tuple(Package(**fields) for fields in content["packages"])
        return Lock(content["asked"], packages)
    except FileNotFoundError as error:
        name = file.parent.name
        raise FactoryError(f"{file} does not exist; run: skerry-factory fetch {name}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FactoryError(f"{file} is no lock ({error}); remove it and fetch again") from error


def write_lock(file: Path, lock: Lock) -> None:
    """Write a lock, a package a line, so that a change of one is a change of one line."""
    lines = ",\n".join(f"  {json.dumps(asdict(package))}" for package in sorted(lock.packages))
    head = f'{{"asked": {json.dumps(lock.asked)}, "packages": [\n'
    write_atomic(file, f"{head}{lines}\n]}}\n".encode(), mode=0o644)


def stored(store: Path, package: Package) -> Path:
    """Return where a package is in the store, or would be."""
    return store / package.sha256[:2] / f"{package.sha256}.deb"


def missing(lock: Lock, store: Path) -> list[Package]:
    """Return the packages that are not in the store, by name and size alone."""
    return [package for package in lock.packages if not _has_size(stored(store, package), package)]


def verify(lock: Lock, store: Path) -> None:
    """Raise FactoryError with each package of the store that is missing, short or another."""
    wrong = []
    for package in lock.packages:
        file = stored(store, package)
        if not file.is_file():
            wrong.append(f"{package.name} {package.version} is missing")
        elif file.stat().st_size != package.size_bytes:
            size = f"{file.stat().st_size} of {package.size_bytes} bytes"
            wrong.append(f"{package.name} {package.version} has {size}: {file}")
        elif digest_of_file(file) != package.sha256:
            wrong.append(f"{package.name} {package.version} has another content: {file}")
    if wrong:
        more = [f"… and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        told = "".join(f"\n    {line}" for line in [*wrong[:SHOWN], *more])
        raise FactoryError(
            f"{len(wrong)} locked package(s) cannot be used; nothing was built. Remove the files "
            f"and run `skerry-factory fetch`{told}"
        )


def locked_mirror(lock: Lock, suite: str, cache: Cache) -> str:
    """Return apt's line for an archive of the locked packages, each checked right now."""
    store = cache.root / STORE
    verify(lock, store)
    key = key_of(suite, lock.digest)
    entry = cache.fetch("archive", key, lambda made: _fill_archive(lock, suite, store, made))
    return f"deb [trusted=yes] copy://{entry} ./"


def _fill_archive(lock: Lock, suite: str, store: Path, folder: Path) -> None:
    for package in lock.packages:
        version = package.version.replace(":", "%3a")
        link = folder / f"{package.name}_{version}_{package.arch}.deb"
        os.link(stored(store, package), link)
    overrides = [f"{package.name} {package.priority} misc\n" for package in lock.packages]
    (folder / "override").write_text("".join(overrides), "utf-8")
    run_command(["sh", "-c", "dpkg-scanpackages --multiversion . override > Packages"], cwd=folder)
    index = folder / "Packages"
    date = format_datetime(datetime.fromtimestamp(SOURCE_DATE_EPOCH, UTC), usegmt=True)
    # mmdebstrap picks the essential packages by the name of the suite
    text = RELEASE.format(
        suite=suite, date=date, sha256=digest_of_file(index), size=index.stat().st_size
    )
    (folder / "Release").write_text(text, "utf-8")


def difference(old: Sequence[Package], new: Sequence[Package]) -> list[str]:
    """Return what another lock changes, a line for each package: `+`, `-`, or `old → new`."""
    before, after = _by_name(old), _by_name(new)
    lines = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key), after.get(key)
        if was == now:
            continue
        if was is None and now is not None:
            lines.append(f"+ {key} {now.version}")
        elif now is None and was is not None:
            lines.append(f"- {key} {was.version}")
        elif was is not None and now is not None:
            same = was.version == now.version
            lines.append(f"  {key} {was.version} → {'another file' if same else now.version}")
    return lines


def put(file: Path, package: Package, store: Path) -> None:
    """Move a downloaded file into the store, under its name only when it is whole."""
    target = stored(store, package)
    target.parent.mkdir(parents=True, exist_ok=True)
    if digest_of_file(file) != package.sha256:
        raise FactoryError(f"{package.name} {package.version} arrived with another content")
    file.replace(target)


def _by_name(packages: Iterable[Package]) -> dict[str, Package]:
    return {f"{package.name}:{package.arch}": package for package in packages}


def _has_size(file: Path, package: Package) -> bool:
    return file.is_file() and file.stat().st_size == package.size_bytes
