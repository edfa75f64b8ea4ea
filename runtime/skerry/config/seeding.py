"""Applies a seed once: its configuration like any other, then its keys, network and name.

Everything of the seed is first staged in /etc/skerry/.seed, where a full disk shows before anything
has changed; then the configuration is applied; then the staged files are renamed into place. What
the seed does not have stays as it is. Applied digests are kept in seeds.json: a crash before that
line leaves a seed to apply again, which changes nothing twice; a crash after it leaves only the
secrets on the seed to wipe, which is done next time.
"""

import json
import os
import tomllib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from skerry.config.apply import Device, Outcome, apply
from skerry.config.generations import Generations
from skerry.config.seed import CONFIG, ERROR, KEYS, Seed, SeedError, read_seed, seed_digest

PENDING = "pending"
WIPED = "wiped"


@dataclass(frozen=True)
class Seeded:
    """What became of a seed; `reason` says why its configuration was refused."""

    digest: str
    outcome: Outcome
    reason: str = ""


def apply_seed(folder: Path, device: Device, *, dry_run: bool = False) -> Seeded:
    """Apply the seed in a folder unless it has been applied; SeedError if it is no seed."""
    digest = seed_digest(folder)
    if digest in _applied(device):
        number = Generations(device.paths, device.ids, device.disk).in_force()
        return Seeded(digest, Outcome("unchanged", number or None))
    seed = read_seed(folder)
    device = replace(device, hostname=seed.device)
    staged = device.paths.etc / ".seed"
    try:
        if not dry_run:
            _clear(device, staged)
            _stage(seed, device, staged)
        outcome = apply(seed.files[CONFIG], CONFIG, device, dry_run=dry_run)
        if outcome.ok and not dry_run:
            _place(device, staged)
            _record(device, digest, PENDING)
    except OSError as error:
        raise SeedError(f"the seed cannot be applied: {error}") from error
    finally:
        if not dry_run:
            _clear(device, staged)
    return Seeded(digest, outcome, "\n".join(map(str, outcome.problems)))


def must_wipe(folder: Path, device: Device) -> bool:
    """Tell whether a seed has been applied and still holds its secrets."""
    return _applied(device).get(seed_digest(folder)) == PENDING


def wipe(folder: Path, device: Device) -> None:
    """Overwrite the secrets of an applied seed; its config.toml becomes the installed copy.

    The manifest stays, and with it the digest.
    """
    for path in sorted((folder / "secrets").glob("*")):
        _overwrite(path, b"")
    _overwrite(folder / CONFIG, device.paths.installed.read_bytes())
    (folder / ERROR).unlink(missing_ok=True)
    _record(device, seed_digest(folder), WIPED)


def explain(folder: Path, reason: str) -> None:
    """Leave the reason for a refusal on the seed, if it can be written."""
    data = (reason + "\n").encode()
    with suppress(OSError):
        if not (folder / ERROR).is_file() or (folder / ERROR).read_bytes() != data:
            (folder / ERROR).write_bytes(data)


def _stage(seed: Seed, device: Device, staged: Path) -> None:
    disk = device.disk
    disk.make_folder(staged, 0o755)
    hostname = tomllib.loads(seed.files[CONFIG].decode()).get("hostname", seed.device)
    disk.write(staged / "hostname", f"{hostname}\n".encode(), 0o644)
    if KEYS in seed.files:
        disk.make_folder(staged / "ssh", 0o755)
        disk.write(staged / "ssh" / KEYS, seed.files[KEYS], 0o644)
    networks = [name for name in seed.files if name.startswith("network/")]
    if networks:
        disk.make_folder(staged / "network", 0o755)
    for name in networks:
        disk.write(staged / name, seed.files[name], 0o644)


def _place(device: Device, staged: Path) -> None:
    disk, etc = device.disk, device.paths.etc
    disk.rename(staged / "hostname", etc / "hostname")
    if (staged / "ssh").is_dir():
        disk.make_folder(etc / "ssh", 0o755)
        disk.rename(staged / "ssh" / KEYS, etc / "ssh" / KEYS)
    if (staged / "network").is_dir():
        disk.make_folder(etc / "network", 0o755)
        new = sorted((staged / "network").iterdir())
        for old in sorted((etc / "network").glob("*.network")):
            if old.name not in {path.name for path in new}:
                disk.remove(old)
        for path in new:
            disk.rename(path, etc / "network" / path.name)


def _clear(device: Device, staged: Path) -> None:
    if staged.is_dir():
        device.disk.remove_folder(staged)


def _applied(device: Device) -> dict[str, str]:
    """Return the digests of applied seeds, and whether their secrets have been wiped."""
    try:
        applied: dict[str, str] = json.loads(_known(device).read_bytes())["applied"]
    except (FileNotFoundError, ValueError):
        return {}
    return applied


def _record(device: Device, digest: str, state: str) -> None:
    text = json.dumps({"applied": {**_applied(device), digest: state}}, indent=1) + "\n"
    device.disk.make_folder(device.paths.private, 0o700)
    device.disk.write(_known(device), text.encode(), 0o600)


def _known(device: Device) -> Path:
    return device.paths.private / "seeds.json"


def _overwrite(path: Path, data: bytes) -> None:
    """Replace a file in place: zeros over the old content first, so that it leaves the medium."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
