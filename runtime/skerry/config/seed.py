"""A seed: the small tree that makes a device itself (docs/seed.md). Read whole and checked whole.

manifest.json config.toml secrets/<name> authorized_keys network/<name>.network
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.base.errors import SkerryError
from skerry.base.files import FileTooLargeError, read_limited

MANIFEST = "manifest.json"
CONFIG = "config.toml"
ERROR = "error.txt"
REPORT = "device.json"
KEYS = "authorized_keys"
MAX_BYTES = 1024 * 1024
MAX_FILES = 64
_NAMES = re.compile(
    r"config\.toml|authorized_keys|secrets/[\w.-]+|network/[\w-][\w.-]*\.network", re.ASCII
)
_DEVICE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_FOREIGN = {"System Volume Information", ".Spotlight-V100", ".Trashes", ".fseventsd", "lost+found"}
"""What operating systems put on a stick by themselves."""


class SeedError(SkerryError):
    """A seed that is refused; nothing of it is applied."""


@dataclass(frozen=True)
class Seed:
    """A seed whose every file is what its manifest says; `digest` is that of the manifest."""

    device: str
    digest: str
    files: Mapping[str, bytes]


def seed_digest(folder: Path) -> str:
    """Return the digest by which a seed is known; SeedError if there is no manifest."""
    return hashlib.sha256(_manifest_bytes(folder)).hexdigest()


def seed_device(folder: Path) -> str:
    """Return the name of the device that a seed is for; SeedError if there is no manifest."""
    return _manifest(_manifest_bytes(folder))[0]


def is_empty(folder: Path) -> bool:
    """Tell whether a seed partition has not been stamped."""
    return not (folder / MANIFEST).exists() and not any(_tree(folder, folder))


def read_seed(folder: Path) -> Seed:
    """Read and verify a seed; SeedError says everything that is wrong with it."""
    data = _manifest_bytes(folder)
    device, wanted = _manifest(data)
    names = sorted(_tree(folder, folder))
    problems = [f"{name} is missing" for name in sorted(wanted) if name not in names]
    problems += [f"{name} is not in {MANIFEST}" for name in names if name not in wanted]
    strange = [name for name in wanted if not _NAMES.fullmatch(name)]
    problems += [f"{name!r} has no place in a seed" for name in strange]
    if CONFIG not in wanted:
        problems.append(f"{MANIFEST} names no {CONFIG}")
    if len(names) > MAX_FILES:
        raise SeedError(f"the seed has {len(names)} files, expected at most {MAX_FILES}")
    files: dict[str, bytes] = {}
    for name in names:
        if name in wanted and name not in strange:
            try:
                files[name] = read_limited(folder / name, MAX_BYTES)
            except (OSError, FileTooLargeError) as error:
                problems.append(str(error))
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != wanted[name]:
            problems.append(f"{name} has sha256 {digest}, expected {wanted[name]}")
    if problems:
        raise SeedError("\n".join(problems))
    return Seed(device, hashlib.sha256(data).hexdigest(), files)


def _manifest_bytes(folder: Path) -> bytes:
    try:
        return read_limited(folder / MANIFEST, MAX_BYTES)
    except FileNotFoundError as error:
        raise SeedError(f"the seed has no {MANIFEST}") from error
    except (OSError, FileTooLargeError) as error:
        raise SeedError(f"{MANIFEST} cannot be read: {error}") from error


def _manifest(data: bytes) -> tuple[str, dict[str, str]]:
    try:
        manifest: Any = json.loads(data)
    except ValueError as error:
        raise SeedError(f"{MANIFEST} is no JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("version") != 1:
        version = manifest.get("version") if isinstance(manifest, dict) else None
        raise SeedError(f"{MANIFEST} has version {version!r}, expected 1")
    device, files = manifest.get("device"), manifest.get("files")
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise SeedError(f"device {device!r} is no name; use letters, digits, '-' and '.'")
    if not isinstance(files, dict) or not all(isinstance(v, str) for v in files.values()):
        raise SeedError(f"{MANIFEST} has no table of files and their sha256")
    return device, files


def _tree(folder: Path, root: Path) -> Iterator[str]:
    """Yield every file of a seed but the manifest and what the device or other systems wrote."""
    for path in sorted(folder.iterdir()):
        name = path.relative_to(root).as_posix()
        if name in {MANIFEST, ERROR, REPORT} or name in _FOREIGN:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _tree(path, root)
        else:
            yield name
