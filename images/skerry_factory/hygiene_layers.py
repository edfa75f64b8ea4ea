"""Opens a container image (an OCI layout in a tar) for the hygiene search: its configuration and
the files of its layers, plain, gzip or zstd. Nothing is unpacked to disk.
"""

import hashlib
import io
import json
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry_factory.errors import FactoryError

READ_BYTES = 2 << 20
ZSTD = b"\x28\xb5\x2f\xfd"
FOLDER = "usr/lib/skerry/images/"


@dataclass(frozen=True)
class Part:
    """The configuration of an image, or something in a layer; `data` is the start of a file."""

    name: str
    mode: int
    size: int
    link: str
    data: bytes
    is_configuration: bool = False


def is_archive(path: Path) -> bool:
    """Tell whether a file is one of the container images that an appliance carries."""
    return path.suffix == ".tar" and FOLDER in path.as_posix()


def parts_of_archive(archive: Path, seen: set[bytes]) -> Iterator[Part]:
    """Yield the configurations and everything in the layers of an archive. Raises: FactoryError.

    Layers whose sha256 is in `seen` are left out, and those of this one are added: images share
    their lower layers.
    """
    try:
        with tarfile.open(archive) as outer:
            for image in json.loads(_read(outer, "manifest.json")):
                name = str(image["Config"])
                data = _read(outer, name)
                yield Part("configuration", stat.S_IFREG, len(data), "", data, True)
                for layer in image["Layers"]:
                    packed = _read(outer, str(layer))
                    digest = hashlib.sha256(packed).digest()
                    if digest not in seen:
                        yield from _parts_of_layer(packed)
                    seen.add(digest)
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise FactoryError(f"{archive}: no container image: {error}") from error


def _read(outer: tarfile.TarFile, name: str) -> bytes:
    file = outer.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()


def _parts_of_layer(data: bytes) -> Iterator[Part]:
    if data.startswith(ZSTD):
        done = subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=False)
        if done.returncode != 0:
            raise ValueError("a layer cannot be unpacked")
        data = done.stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as layer:
        for member in layer:
            yield Part(
                member.name.removeprefix("./").strip("/"),
                _kind(member),
                member.size,
                member.linkname,
                _start_of(layer, member),
            )


def _start_of(layer: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file: Any = layer.extractfile(member) if member.isreg() else None
    return b"" if file is None else file.read(READ_BYTES)


def _kind(member: tarfile.TarInfo) -> int:
    if member.isreg():
        return stat.S_IFREG
    if member.isdir():
        return stat.S_IFDIR
    return stat.S_IFLNK if member.issym() else stat.S_IFCHR
