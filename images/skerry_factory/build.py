"""Builds an image: does nothing when it is there already, else runs the pipeline in its namespaces.

build_image(definition, out, cache, progress) -> BuildResult
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry_factory.architecture import architecture
from skerry_factory.cache import digest_of_files, exclusive, key_of
from skerry_factory.definition import Definition
from skerry_factory.lock import lock_file, read_lock
from skerry_factory.namespace import run_inside
from skerry_factory.output import read_manifest
from skerry_factory.paths import Checkout
from skerry_factory.pipeline import Job
from skerry_factory.progress import Progress
from skerry_factory.signing.seal import unsign

READ_BY_BUILDS = ("runtime", "roles", "playbooks", "images/containers", "images/skerry_factory")


@dataclass(frozen=True)
class BuildResult:
    """The files of an image; `qcow2` is None when the definition does not ask for it."""

    raw: Path
    qcow2: Path | None
    manifest: Path
    changed: bool

    def read_manifest(self) -> dict[str, Any]:
        """Return manifest.json."""
        content: dict[str, Any] = json.loads(self.manifest.read_text("utf-8"))
        return content


def build_image(
    definition: Definition,
    out: Path,
    cache: Path,
    progress: Progress,
    mirror: str | None = None,
    *,
    refresh: bool = False,
    locked: bool = False,
    offline: bool = False,
    checkout: Checkout | None = None,
) -> BuildResult:
    """Build an image into `out`; `refresh` installs the packages anew even if they are cached.

    `locked` takes the packages of the definition's lock and no others; `offline` does so without a
    network.
    """
    out, cache = out.resolve(), cache.resolve()
    checkout = checkout or Checkout.of_package()
    lock = lock_file(definition).resolve() if locked or offline else None
    if lock is not None:
        read_lock(lock)
    inputs = key_of(digest_of_inputs(definition, checkout), mirror, *(["locked"] if lock else []))
    with progress.step("build", definition.id) as step:
        with exclusive(out / ".lock", f"another build writes {out}"):
            if not refresh and _is_built(out / "manifest.json", inputs):
                step.done_as("nothing to do")
                return _result(definition, out, changed=False)
            file = definition.file.resolve()
            job = Job(file, out, cache, checkout.root, mirror, refresh, inputs, lock)
            foreign = architecture(definition.arch).is_foreign
            made = run_inside(job.to_json(), progress, own_user_namespace=foreign, offline=offline)
            unsign(out)
        step.done_as(f"{made['packages']} packages, sha256 {str(made['sha256'])[:12]}…")
    return _result(definition, out, changed=True)


def digest_of_inputs(definition: Definition, checkout: Checkout) -> str:
    """Return one digest over everything that a build reads, packages of the archive excepted."""
    paths = [*definition.folders, *(checkout.root / name for name in READ_BY_BUILDS)]
    return digest_of_files([*paths, Path("/etc/os-release")])


def _is_built(manifest_file: Path, inputs: str) -> bool:
    manifest = read_manifest(manifest_file)
    if manifest is None or manifest.get("inputs", {}).get("all") != inputs:
        return False
    written = manifest_file.stat().st_mtime_ns
    for output in manifest["outputs"]:
        file = manifest_file.parent / output["file"]
        if not file.is_file():
            return False
        status = file.stat()
        if status.st_size != output["size_bytes"] or status.st_mtime_ns > written:
            return False
    return True


def _result(definition: Definition, out: Path, *, changed: bool) -> BuildResult:
    qcow2 = out / f"{definition.id}.qcow2" if "qcow2" in definition.formats else None
    return BuildResult(out / f"{definition.id}.raw", qcow2, out / "manifest.json", changed)
