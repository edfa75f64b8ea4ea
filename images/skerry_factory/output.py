"""The files of an image: made in a folder beside the final ones, renamed when all are whole."""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry_factory.cache import remove_tree

BUILDING = ".building-"
DEVICES = "devices"
"""Folder beside the files of an image: devices that were stamped from it."""


@dataclass(frozen=True)
class Output:
    """One finished file, still in the folder of the build."""

    path: Path
    format: str
    sha256: str


@contextmanager
def building_folder(out: Path) -> Iterator[Path]:
    """Yield a folder in `out` for half-made files; removes it, and those of killed builds."""
    out.mkdir(parents=True, exist_ok=True)
    for leftover in out.glob(f"{BUILDING}*"):
        remove_tree(leftover)
    folder = out / f"{BUILDING}{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        remove_tree(folder)


def publish(outputs: list[Output], manifest: Mapping[str, object], out: Path) -> Path:
    """Give the files their final names, the manifest last: with it the image is there."""
    final = out / "manifest.json"
    final.unlink(missing_ok=True)
    for output in outputs:
        output.path.replace(out / output.path.name)
    temporary = outputs[0].path.parent / "manifest.json"
    temporary.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", "utf-8")
    temporary.replace(final)
    return final


def read_manifest(file: Path) -> Mapping[str, Any] | None:
    """Return a manifest, or None when there is none that can be read."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None
