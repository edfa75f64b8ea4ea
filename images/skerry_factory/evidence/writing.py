"""Writes the evidence of an image beside it.

    <image>/evidence/index.html             the page for people; needs nothing else
                     evidence.json          the same for programs
                     sbom.cdx.json, sbom.spdx.json
                     vulnerabilities.json, provenance.json

All of it names the image's digest; `build --sign` and `evidence --sign` sign it with the image.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from skerry.base.files import write_atomic
from skerry_factory.contents.opening import opened
from skerry_factory.errors import FactoryError
from skerry_factory.evidence.cyclonedx import cyclonedx
from skerry_factory.evidence.inventory import Inventory, take_inventory
from skerry_factory.evidence.provenance import provenance, state_of_checkout, versions_of_tools
from skerry_factory.evidence.spdx import spdx
from skerry_factory.evidence.subject import Subject
from skerry_factory.evidence.vulnerabilities import Feed, report
from skerry_factory.output import read_manifest
from skerry_factory.paths import Checkout, package_data
from skerry_factory.signing.seal import unsign
from skerry_factory.validate import checks_of_junit

FOLDER = "evidence"
SUMMARY, PAGE = "evidence.json", "index.html"
NOT_VALIDATED = {"state": "not validated"}


@dataclass(frozen=True)
class Evidence:
    """What was written: the page, and the summary that it shows."""

    page: Path
    summary: Mapping[str, Any]


def has_evidence(image: Path) -> bool:
    """Tell whether the evidence of the image that is there now has been written."""
    manifest = read_manifest(image / "manifest.json")
    summary = read_manifest(image / FOLDER / SUMMARY)
    if manifest is None or summary is None:
        return False
    return bool(summary["image"]["files"] == Subject.of_manifest(manifest).files)


def write_evidence(
    image: Path, checkout: Checkout, feeds: Sequence[Feed] = (), validation: Path | None = None
) -> Evidence:
    """Write all documents of an image, whose signature is gone afterwards."""
    manifest = read_manifest(image / "manifest.json")
    if manifest is None:
        raise FactoryError(f"{image} holds no image; expected the folder of a build")
    subject = Subject.of_manifest(manifest)
    with opened(image) as contents:
        inventory = take_inventory(contents)
    known = report(inventory, subject.suite, feeds)
    origin = provenance(subject, manifest, state_of_checkout(checkout), versions_of_tools())
    documents = {
        "sbom.cdx.json": _json(cyclonedx(subject, inventory)),
        "sbom.spdx.json": _json(spdx(subject, inventory)),
        "vulnerabilities.json": _json(known),
        "provenance.json": _json(origin),
    }
    summary = summarise(subject, inventory, known, origin, read_validation(image, validation))
    summary["documents"] = {
        name: hashlib.sha256(data).hexdigest() for name, data in documents.items()
    }
    unsign(image)
    folder = image / FOLDER
    folder.mkdir(exist_ok=True)
    for name, data in documents.items():
        write_atomic(folder / name, data, mode=0o644)
    write_atomic(folder / PAGE, render(summary).encode(), mode=0o644)
    write_atomic(folder / SUMMARY, _json(summary), mode=0o644)
    return Evidence(folder / PAGE, summary)


def summarise(
    subject: Subject,
    inventory: Inventory,
    known: Mapping[str, object],
    origin: Mapping[str, object],
    validation: Mapping[str, object],
) -> dict[str, Any]:
    """Return what the page shows."""
    by_size = sorted(inventory.packages, key=lambda one: (-one.size_bytes, one.name))
    folders: Counter[str] = Counter()
    for file in inventory.unowned:
        folders["/".join(file.path.split("/")[:3][:-1]) or "/"] += 1
    licences = Counter(name for _, one in inventory.all_packages() for name in one.licences)
    return {
        "image": {
            "id": subject.id,
            "version": subject.version,
            "suite": subject.suite,
            "arch": subject.arch,
            "sha256": subject.sha256,
            "files": dict(subject.files),
        },
        "packages": [
            {
                "kind": one.kind,
                "name": one.name,
                "version": one.version,
                "size_bytes": one.size_bytes,
                "licences": list(one.licences),
            }
            for one in by_size
        ],
        "containers": [
            {
                "ref": one.ref,
                "id": one.id,
                "packages": len(one.packages),
                "size_bytes": one.size_bytes,
            }
            for one in inventory.containers
        ],
        "unowned": {
            "files": len(inventory.unowned),
            "size_bytes": sum(file.size_bytes for file in inventory.unowned),
            "folders": dict(folders.most_common()),
        },
        "licences": dict(sorted(licences.items(), key=lambda item: (-item[1], item[0]))),
        "vulnerabilities": known,
        "validation": validation,
        "provenance": origin,
    }


def read_validation(image: Path, folder: Path | None) -> Mapping[str, object]:
    """Return what the appliance checks said of this image; a run before its build tells nothing."""
    junit = folder / "junit.xml" if folder else None
    if junit is None or not junit.is_file():
        return NOT_VALIDATED
    if junit.stat().st_mtime_ns < (image / "manifest.json").stat().st_mtime_ns:
        return {"state": "not validated since it was built"}
    checks = checks_of_junit(junit.read_text("utf-8"))
    counts = Counter(check.result for check in checks)
    valid = counts["passed"] > 0 and not counts["failed"]
    areas = {check.area: Counter[str]() for check in checks}
    for check in checks:
        areas[check.area][check.result] += 1
    return {
        "state": "valid" if valid else "invalid",
        "passed": counts["passed"],
        "failed": counts["failed"],
        "skipped": counts["skipped"],
        "areas": {area: dict(found) for area, found in sorted(areas.items())},
    }


def render(summary: Mapping[str, Any]) -> str:
    """Return the page, which needs nothing else."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(package_data("evidence.html.j2").read_text("utf-8"))
    return template.render(summary)


def _json(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
