"""Seed trees, as the factory stamps them."""

import hashlib
import json
from pathlib import Path


def write_seed(folder: Path, files: dict[str, bytes], device: str = "pump-7") -> Path:
    """Write a seed with a manifest that is right."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    write_manifest(folder, {"version": 1, "device": device, "files": digests})
    return folder


def write_manifest(folder: Path, manifest: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
