"""Stamping: one device's seed on a copy of an image.

The seed is laid out as docs/seed.md says, made as a small FAT file system and written at the offset
of the seed partition. A configuration that `skerry config check` refuses never gets onto a device.
What copies are called and made of: `copies`.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skerry.base.files import fsync_folder
from skerry.config.document import read
from skerry_factory.copies import Copies, remove_unused_bases
from skerry_factory.errors import DefinitionError, FactoryError
from skerry_factory.output import DEVICES

MAX_FILES = 64
MAX_FILE_BYTES = 1 << 20
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SECRET_REFERENCE = re.compile(r"file:///run/seed/secrets/([^\s\"']+)")
DEFAULT_SIZE_BYTES = 8 << 30


@dataclass(frozen=True)
class Seed:
    """What makes one device itself; `secrets` are named in `config` as file:///run/seed/secrets/…"""

    device: str
    config: Path
    authorized_keys: Sequence[Path] = ()
    secrets: Mapping[str, Path] = field(default_factory=dict)
    networks: Sequence[Path] = ()


@dataclass(frozen=True)
class StampedDevice:
    """A disk that boots as one device; the digest is that of the seed's manifest.json."""

    disk: Path
    seed_digest: str


def stamp(
    image: Path, seed: Seed, *, disk_format: str = "qcow2", size_bytes: int = DEFAULT_SIZE_BYTES
) -> StampedDevice:
    """Stamp a device from the image in a folder; writes nothing when anything is wrong."""
    devices = image / DEVICES
    copies = Copies(image, devices, disk_format, size_bytes)
    files = seed_files(seed)
    devices.mkdir(exist_ok=True)
    disk = devices / copies.file_name(seed.device)
    partial = devices / f".{secrets.token_hex(4)}.{disk.name}"
    try:
        copies.write(copies.volume(files), partial)
        sync_file(partial)
        partial.replace(disk)
    finally:
        partial.unlink(missing_ok=True)
    fsync_folder(devices)
    remove_unused_bases(devices)
    return StampedDevice(disk, seed_digest(files))


def sync_file(file: Path) -> None:
    """Make what was written to a file last through a power cut."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seed_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest by which a device knows a seed."""
    return hashlib.sha256(files["manifest.json"]).hexdigest()


def seed_files(seed: Seed) -> dict[str, bytes]:
    """Return the files of a seed by path, manifest.json among them; raises on anything wrong."""
    problems = _problems(seed)
    if problems:
        raise DefinitionError(problems, "nothing was stamped")
    files = {"config.toml": seed.config.read_bytes()}
    files |= {f"secrets/{name}": path.read_bytes() for name, path in seed.secrets.items()}
    files |= {f"network/{path.name}": path.read_bytes() for path in seed.networks}
    files |= keys_file(seed.authorized_keys)
    problems = config_problems(files, str(seed.config))
    if problems:
        raise DefinitionError(problems, "nothing was stamped")
    return with_manifest(seed.device, files)


def keys_file(paths: Sequence[Path]) -> dict[str, bytes]:
    """Return the file of the people who may log in; none when no keys are given."""
    if not paths:
        return {}
    lines = [path.read_text("utf-8").strip() for path in paths]
    return {"authorized_keys": ("\n".join(lines) + "\n").encode()}


def key_problems(paths: Sequence[Path]) -> list[str]:
    """Say which files given as public SSH keys are not."""
    return [
        f"{path}: a private key; give the public one, {path}.pub"
        for path in paths
        if "PRIVATE KEY" in path.read_text("utf-8", "replace")
    ]


def config_problems(
    files: Mapping[str, bytes], shown: str, remedy: str = "add --secret {name}=FILE"
) -> list[str]:
    """Say what is wrong with the configuration of a seed, and which secrets it lacks.

    `shown` is its file in messages, `remedy` what to do about a secret `{name}`.
    """
    document = read(files["config.toml"], shown)
    problems = [str(problem) for problem in document.problems]
    for name in sorted(set(SECRET_REFERENCE.findall(document.text))):
        if f"secrets/{name}" not in files:
            told = f"{shown}: refers to secret {name!r}, which is not given; "
            problems.append(told + remedy.format(name=name))
    return problems


def with_manifest(device: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Add the manifest.json of a seed. Raises: FactoryError for what a device would refuse."""
    for name, data in files.items():
        if len(data) > MAX_FILE_BYTES:
            raise FactoryError(f"{name} has {len(data)} bytes, a seed takes {MAX_FILE_BYTES} each")
    if len(files) > MAX_FILES:
        raise FactoryError(f"the seed has {len(files)} files, expected at most {MAX_FILES}")
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    manifest = {"version": 1, "device": device, "files": digests}
    return {**files, "manifest.json": (json.dumps(manifest, indent=1) + "\n").encode()}


def _problems(seed: Seed) -> list[str]:
    if not NAME.fullmatch(seed.device):
        return [f"--name {seed.device!r} is not a device name; use a-z, 0-9, '-', at most 63"]
    problems = [
        f"--secret {name!r} is not a file name; use letters, digits, '.', '_', '-'"
        for name in seed.secrets
        if not SECRET_NAME.fullmatch(name)
    ]
    given = [seed.config, *seed.authorized_keys, *seed.secrets.values(), *seed.networks]
    problems += [f"{path}: no such file" for path in given if not path.is_file()]
    problems += [
        f"{path}: not a systemd-networkd file; its name must end in '.network'"
        for path in seed.networks
        if path.suffix != ".network"
    ]
    return problems or key_problems(seed.authorized_keys)


def remove_device(image: Path, name: str) -> None:
    """Remove a stamped device's disk; absent is fine."""
    for disk in (image / "devices").glob(f"{name}.*"):
        disk.unlink()
    if (image / "devices").is_dir():
        remove_unused_bases(image / "devices")
        if not any((image / "devices").iterdir()):
            shutil.rmtree(image / "devices")
