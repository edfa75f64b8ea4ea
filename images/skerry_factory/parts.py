"""What an image carries that this repository builds: the package and the containers."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry_factory.cache import Cache, digest_of_file, digest_of_files
from skerry_factory.container_base import Platform
from skerry_factory.containers import (
    build_containers,
    cached_containers,
    preload_lock,
    write_preload_lock,
)
from skerry_factory.deb import build_deb
from skerry_factory.definition import Definition
from skerry_factory.inputs import StepInputs
from skerry_factory.paths import Checkout
from skerry_factory.progress import Reporter

UNKNOWN = "not built yet"
"""Digest of what the cache does not have."""


@dataclass(frozen=True)
class BuildParts:
    """`folder` holds skerry.deb and preload/; it is mounted into the tree while the roles run."""

    folder: Path
    images: tuple[Mapping[str, Any], ...]
    package_digest: str
    preload_digest: str
    keys: Mapping[str, str]
    package: StepInputs


@dataclass(frozen=True)
class PlannedParts:
    """Digests of what the cache has already; UNKNOWN for what has to be built."""

    package: StepInputs
    package_digest: str
    preload_digest: str


def build_parts(
    definition: Definition, mirror: str | None, cache: Cache, checkout: Checkout, report: Reporter
) -> BuildParts:
    """Build package and containers side by side and lay them out as the roles expect them."""
    with ThreadPoolExecutor() as pool:
        package = pool.submit(_package, definition, cache, checkout, report)
        preload = _preload(definition, mirror, cache, checkout, report)
        package_folder = package.result()
    folder = cache.new_folder("parts")
    shutil.copy2(next(package_folder.glob("*.deb")), folder / "skerry.deb")
    shutil.copytree(preload, folder / "preload", copy_function=os.link)
    images = json.loads((folder / "preload/preload.json").read_text("utf-8"))["images"]
    preload_digest = digest_of_file(folder / "preload/preload.json")
    return BuildParts(
        folder=folder,
        images=tuple(images),
        package_digest=digest_of_file(folder / "skerry.deb"),
        preload_digest=preload_digest,
        keys={"package": package_folder.name, "containers": preload_digest},
        package=package_inputs(definition, checkout),
    )


def plan_parts(
    definition: Definition, mirror: str | None, cache: Cache, checkout: Checkout
) -> PlannedParts:
    """Return what a build would lay out, as far as the cache has it; builds nothing."""
    package = package_inputs(definition, checkout)
    debs = list(cache.entry(package.step, package.key).glob("*.deb"))
    images = cached_containers(
        definition.preload,
        cache,
        Platform(definition.suite, definition.arch, mirror or definition.mirror),
        checkout,
    )
    lock = preload_lock(images) if images is not None else None
    return PlannedParts(
        package,
        digest_of_file(debs[0]) if debs else UNKNOWN,
        hashlib.sha256(lock).hexdigest() if lock is not None else UNKNOWN,
    )


def package_inputs(definition: Definition, checkout: Checkout) -> StepInputs:
    """Return what goes into the runtime's Debian package."""
    sources = [checkout.root / "runtime", Path(__file__).with_name("deb.py")]
    values = {"suite": definition.suite, "files of runtime/": digest_of_files(sources)}
    return StepInputs("package", "package", values)


def _package(definition: Definition, cache: Cache, checkout: Checkout, report: Reporter) -> Path:
    key = package_inputs(definition, checkout).key
    with report.step("package", "Debian package of the runtime") as step:
        if cache.has("package", key):
            step.done_as("cached")
        return cache.fetch("package", key, lambda out: _make_package(definition, out))


def _make_package(definition: Definition, out: Path) -> None:
    build_deb(definition.suite, out)


def _preload(
    definition: Definition, mirror: str | None, cache: Cache, checkout: Checkout, report: Reporter
) -> Path:
    folder = cache.new_folder("preload")
    with report.step("preload", ", ".join(definition.preload)) as step:
        images = build_containers(
            definition.preload,
            folder,
            cache.root,
            mirror=mirror or definition.mirror,
            progress=step.waits_for,
            suite=definition.suite,
            arch=definition.arch,
            checkout=checkout,
        )
        write_preload_lock(images, folder / "preload.json")
    return folder
