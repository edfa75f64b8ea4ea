"""What is known against the packages of an image, from feeds that the operator brings as files.

A feed is the JSON of Debian's security tracker (source package -> CVE -> releases), or OSV: one
record, a list of them, or {"vulns": […]}. Nothing is fetched. Without a feed nothing is known,
which is another thing than nothing found.

status of a finding:
    affected      the feed says so; `fixed` names the version with the correction, if there is one
    undetermined  the feed has not decided yet
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skerry_factory.errors import FactoryError
from skerry_factory.evidence.inventory import Inventory, Package
from skerry_factory.evidence.versions import is_before

RELEASES = {"bookworm": "12", "trixie": "13"}


@dataclass(frozen=True)
class Finding:
    """One vulnerability of one package; `where` is the container, empty for the image itself."""

    id: str
    package: str
    version: str
    where: str
    status: str
    fixed: str
    urgency: str
    summary: str


@dataclass(frozen=True)
class Feed:
    """A file of a feed as it was read."""

    name: str
    sha256: str
    tracker: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, file: Path) -> "Feed":
        """Read a feed. Raises: FactoryError when it is neither of the two kinds."""
        try:
            data = file.read_bytes()
            content = json.loads(data)
        except OSError as error:
            raise FactoryError(f"feed {file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise FactoryError(f"feed {file} is no JSON: {error}") from error
        if isinstance(content, dict) and isinstance(content.get("vulns"), list):
            content = content["vulns"]
        elif isinstance(content, dict) and "affected" in content:
            content = [content]
        digest = hashlib.sha256(data).hexdigest()
        if isinstance(content, list) and all(isinstance(r, dict) and "id" in r for r in content):
            return cls(file.name, digest, {}, content)
        if isinstance(content, dict) and content and _is_tracker(content):
            return cls(file.name, digest, content, ())
        raise FactoryError(
            f"feed {file} is neither of Debian's security tracker nor OSV; download it again"
        )


def report(inventory: Inventory, suite: str, feeds: Sequence[Feed]) -> Mapping[str, object]:
    """Return `{"state", "feeds", "findings"}`; findings is None when no feed was given."""
    if not feeds:
        return {"state": "unknown: no feed was given", "feeds": [], "findings": None}
    found = {
        finding: None
        for feed in feeds
        for where, package in inventory.all_packages()
        for search in (_of_tracker, _of_osv)
        for finding in search(feed, suite, where, package)
    }
    ordered = sorted(found, key=lambda one: (one.status, one.package, one.id, one.where))
    return {
        "state": f"{len(ordered)} findings",
        "feeds": [{"name": feed.name, "sha256": feed.sha256} for feed in feeds],
        "findings": [asdict(finding) for finding in ordered],
    }


def _is_tracker(content: Mapping[str, Any]) -> bool:
    return all(
        isinstance(issues, dict)
        and all(isinstance(one, dict) and "releases" in one for one in issues.values())
        for issues in content.values()
    )


def _of_tracker(feed: Feed, suite: str, where: str, package: Package) -> Iterator[Finding]:
    if package.kind != "deb":
        return
    for name, issue in feed.tracker.get(package.source, {}).items():
        release = issue["releases"].get(suite)
        if release is None:
            continue
        fixed = release.get("fixed_version", "")
        status = release.get("status", "undetermined")
        # "0" as the version with the correction: the release was never affected
        if fixed and not is_before("deb", package.source_version, fixed):
            continue
        yield Finding(
            id=name,
            package=package.name,
            version=package.version,
            where=where,
            status="undetermined" if status == "undetermined" else "affected",
            fixed=fixed,
            urgency=release.get("urgency", ""),
            summary=issue.get("description", ""),
        )


def _of_osv(feed: Feed, suite: str, where: str, package: Package) -> Iterator[Finding]:
    debian = f"Debian:{RELEASES.get(suite, suite)}"
    system, name = ("PyPI", package.name) if package.kind == "pypi" else (debian, package.source)
    for record in feed.records:
        for affected in record.get("affected", ()):
            told = affected.get("package", {})
            if told.get("ecosystem") != system or not _same(told.get("name", ""), name):
                continue
            fixed = _affecting_range(affected, package)
            if fixed is not None:
                yield Finding(
                    id=record["id"],
                    package=package.name,
                    version=package.version,
                    where=where,
                    status="affected",
                    fixed=fixed,
                    urgency=str(affected.get("ecosystem_specific", {}).get("urgency", "")),
                    summary=record.get("summary") or record.get("details", "")[:200],
                )


def _affecting_range(affected: Mapping[str, Any], package: Package) -> str | None:
    """Return the version with the correction ('' if there is none), None when not affected."""
    version = package.source_version
    for one in affected.get("ranges", ()):
        inside, fixed = False, ""
        for event in one.get("events", ()) if one.get("type") == "ECOSYSTEM" else ():
            start = event.get("introduced")
            if start is not None and not (start != "0" and is_before(package.kind, version, start)):
                inside, fixed = True, ""
            end = event.get("fixed")
            if end is not None and inside and not fixed:
                fixed = end
                inside = is_before(package.kind, version, end)
            last = event.get("last_affected")
            if last is not None and inside and is_before(package.kind, last, version):
                inside = False
        if inside:
            return fixed
    return "" if version in affected.get("versions", ()) else None


def _same(first: str, second: str) -> bool:
    return first.lower().replace("_", "-") == second.lower().replace("_", "-")
