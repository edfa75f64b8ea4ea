"""Which image evidence is about: its name and the digests of its files, from the manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from skerry_factory.epoch import SOURCE_DATE_EPOCH

CREATED = datetime.fromtimestamp(SOURCE_DATE_EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
"""The time in every document: that of the image, so that the same image has the same evidence."""


@dataclass(frozen=True)
class Subject:
    """An image; `files` are the sha256 of its formats by file name, the raw disk first."""

    id: str
    version: str
    suite: str
    arch: str
    files: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """The digest of the raw disk, which identifies the image."""
        return next(iter(self.files.values()))

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> "Subject":
        """Return the subject that a build's manifest names."""
        outputs = sorted(manifest["outputs"], key=lambda one: one["format"] != "raw")
        files = {one["file"]: one["sha256"] for one in outputs}
        return cls(manifest["id"], manifest["version"], manifest["suite"], manifest["arch"], files)
