"""Container images as files, small ones: what an appliance carries, without a container engine."""

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_archive(
    file: Path,
    layers: Sequence[Mapping[str, str | bytes]],
    *,
    environment: Sequence[str] = (),
    packing: str = "",
) -> None:
    """Write a container image as an appliance carries it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    config = json.dumps({"config": {"Env": list(environment)}}).encode()
    names = [f"blobs/layer-{number}" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "blobs/config", "Layers": names}]).encode()
    packed = [pack(tar_of(layer), packing) for layer in layers]
    blobs = {"manifest.json": manifest, "blobs/config": config}
    file.write_bytes(tar_of({**blobs, **dict(zip(names, packed, strict=True))}))


def tar_of(files: Mapping[str, str | bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            octets = content.encode("latin-1") if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(octets)
            tar.addfile(entry, io.BytesIO(octets))
    return data.getvalue()


def pack(data: bytes, packing: str) -> bytes:
    if packing == "gz":
        return gzip.compress(data, mtime=0)
    if packing == "zst":
        return subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout
    return data
