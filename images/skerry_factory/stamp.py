"""Stamping: one device's seed on a copy of an image.

The copy is a qcow2 overlay (milliseconds, a few hundred KiB) or a raw file to be flashed. The seed
is laid out as docs/seed.md says, made as a small FAT file system and written at the offset of the
seed partition. A configuration that `skerry config check` refuses never gets onto a device.

    <out>/devices/<name>.qcow2           an overlay, as large as asked for
    <out>/devices/.base-<digest>.qcow2   what overlays refer to: a hard link of the image, so that a
                                         later build does not change devices that exist
    <out>/devices/<name>.raw             with format raw
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skerry.config.document import read
from skerry_factory.build import read_manifest
from skerry_factory.command import run_command
from skerry_factory.epoch import volume_id
from skerry_factory.errors import DefinitionError, FactoryError
from skerry_factory.filesystems import copy_sparse, make_fat

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
    manifest = read_manifest(image / "manifest.json")
    if manifest is None:
        raise FactoryError(f"there is no image in {image}; run: skerry-factory build {image.name}")
    files = seed_files(seed)
    devices = image / "devices"
    devices.mkdir(exist_ok=True)
    disk = devices / f"{seed.device}.{disk_format}"
    partial = devices / f".{seed.device}.{secrets.token_hex(4)}.{disk_format}"
    try:
        with tempfile.TemporaryDirectory(dir=devices, prefix=".stamp-") as folder:
            file_system = _seed_file_system(files, manifest, Path(folder))
            if disk_format == "qcow2":
                _overlay(image, manifest, partial, size_bytes)
                _write_into_qcow2(file_system, partial, _seed_partition(manifest))
            else:
                _copy_raw(image, manifest, partial)
                copy_sparse(file_system, partial, _seed_partition(manifest)["offset_bytes"])
        partial.replace(disk)
    finally:
        partial.unlink(missing_ok=True)
    _remove_unused_bases(devices)
    return StampedDevice(disk, hashlib.sha256(files["manifest.json"]).hexdigest())


def seed_files(seed: Seed) -> dict[str, bytes]:
    """Return the files of a seed by path, manifest.json among them; raises on anything wrong."""
    problems = _problems(seed)
    if problems:
        raise DefinitionError(problems, "nothing was stamped")
    files = {"config.toml": seed.config.read_bytes()}
    files |= {f"secrets/{name}": path.read_bytes() for name, path in seed.secrets.items()}
    files |= {f"network/{path.name}": path.read_bytes() for path in seed.networks}
    if seed.authorized_keys:
        lines = [path.read_text("utf-8").strip() for path in seed.authorized_keys]
        files["authorized_keys"] = ("\n".join(lines) + "\n").encode()
    for name, data in files.items():
        if len(data) > MAX_FILE_BYTES:
            raise FactoryError(f"{name} has {len(data)} bytes, a seed takes {MAX_FILE_BYTES} each")
    if len(files) > MAX_FILES:
        raise FactoryError(f"the seed has {len(files)} files, expected at most {MAX_FILES}")
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    manifest = {"version": 1, "device": seed.device, "files": digests}
    files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    return files


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
    if problems:
        return problems
    for path in seed.authorized_keys:
        if "PRIVATE KEY" in path.read_text("utf-8", "replace"):
            problems.append(f"{path}: a private key; give the public one, {path}.pub")
    document = read(seed.config.read_bytes(), str(seed.config))
    problems += [str(problem) for problem in document.problems]
    for name in sorted(set(SECRET_REFERENCE.findall(document.text))):
        if name not in seed.secrets:
            problems.append(
                f"{seed.config}: refers to secret {name!r}, which is not given; "
                f"add --secret {name}=FILE"
            )
    return problems


def _seed_file_system(files: Mapping[str, bytes], manifest: Mapping[str, Any], work: Path) -> Path:
    tree, image = work / "tree", work / "seed.img"
    for name, data in files.items():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    size = _seed_partition(manifest)["size_bytes"]
    own = volume_id(manifest["id"], "seed")
    make_fat(image, tree, size_bytes=size, bits=16, label="SKERRY-SEED", own=own)
    return image


def _seed_partition(manifest: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(part for part in manifest["partitions"] if part["name"] == "seed")
    return found


def _image_file(image: Path, manifest: Mapping[str, Any], wanted: str) -> tuple[Path, str]:
    """Return the file of a format, or that of any other, and its format."""
    outputs = {output["format"]: output for output in manifest["outputs"]}
    output = outputs.get(wanted) or outputs["raw"]
    file = image / output["file"]
    if not file.is_file():
        raise FactoryError(f"{file} is missing; build it again: skerry-factory build {image.name}")
    return file, output["format"]


def _overlay(image: Path, manifest: Mapping[str, Any], target: Path, size_bytes: int) -> None:
    source, source_format = _image_file(image, manifest, "qcow2")
    digest = next(o["sha256"] for o in manifest["outputs"] if o["format"] == source_format)
    base = target.parent / f".base-{digest[:16]}.{source_format}"
    if not base.exists():
        base.hardlink_to(source)
    partitions_end = max(p["offset_bytes"] + p["size_bytes"] for p in manifest["partitions"])
    size = str(max(size_bytes, partitions_end + (1 << 20)))
    backing = ["-b", base.name, "-F", source_format]
    run_command(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(target), size])


def _write_into_qcow2(file_system: Path, disk: Path, partition: Mapping[str, Any]) -> None:
    # behind the last written sector both the new seed and the empty one of the image are holes
    used = _end_of_data(file_system)
    os.truncate(file_system, used)
    write = f"write -q -s {file_system.name} {partition['offset_bytes']} {used}"
    command = ["qemu-io", "-f", "qcow2", "-c", write, str(disk.resolve())]
    run_command(command, cwd=file_system.parent)


def _end_of_data(file: Path) -> int:
    data = file.read_bytes().rstrip(b"\0")
    return (len(data) + 4095) // 4096 * 4096


def _copy_raw(image: Path, manifest: Mapping[str, Any], target: Path) -> None:
    source, _ = _image_file(image, manifest, "raw")
    run_command(["cp", "--reflink=auto", "--sparse=always", str(source), str(target)])


def _remove_unused_bases(devices: Path) -> None:
    used = {_backing_file(disk) for disk in devices.glob("[!.]*.qcow2")}
    for base in devices.glob(".base-*"):
        if base.name not in used:
            base.unlink()


def _backing_file(disk: Path) -> str:
    """Return the name of the file that a qcow2 overlay refers to (qcow2 header, bytes 8 to 19)."""
    with disk.open("rb") as file:
        offset, length = struct.unpack(">QI", file.read(20)[8:])
        file.seek(offset)
        return file.read(length).decode()


def remove_device(image: Path, name: str) -> None:
    """Remove a stamped device's disk; absent is fine."""
    for disk in (image / "devices").glob(f"{name}.*"):
        disk.unlink()
    if (image / "devices").is_dir():
        _remove_unused_bases(image / "devices")
        if not any((image / "devices").iterdir()):
            shutil.rmtree(image / "devices")
