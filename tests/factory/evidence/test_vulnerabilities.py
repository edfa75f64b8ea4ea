"""Vulnerabilities from feeds: what applies to a version, and what is said without a feed."""

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from skerry_factory.contents.model import Contents
from skerry_factory.errors import FactoryError
from skerry_factory.evidence.inventory import take_inventory
from skerry_factory.evidence.versions import is_before
from skerry_factory.evidence.vulnerabilities import Feed, report

VERSIONS = [
    "1.0", "1.0~rc1", "1.0-1", "1.0-1+b1", "1.0+dfsg-1", "1:0.1", "1.0a", "1.0.0", "1.10", "1.9",
    "1.0-1~bpo1", "1.0-a-1",
]  # fmt: skip


def test_versions_have_dpkgs_order() -> None:
    """dpkg comes to the same order for every pair."""
    for first, second in itertools.combinations(VERSIONS, 2):
        command = ["dpkg", "--compare-versions", first, "lt", second]
        expected = subprocess.run(command, check=False, timeout=10).returncode == 0
        assert is_before("deb", first, second) is expected, (first, second)


def feed(tmp_path: Path, content: object) -> Feed:
    file = tmp_path / "feed.json"
    file.write_text(json.dumps(content))
    return Feed.read(file)


def found(contents: Contents, *feeds: Feed) -> list[dict[str, Any]]:
    findings = report(take_inventory(contents), "trixie", feeds)["findings"]
    assert isinstance(findings, list)
    return [one for one in findings if not one["where"]]


def issue(**release: str) -> dict[str, object]:
    return {"CVE-2026-1": {"description": "bad", "releases": {"trixie": release}}}


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({"status": "resolved", "fixed_version": "2.41-2"}, ("affected", "2.41-2")),
        ({"status": "resolved", "fixed_version": "2.41-1"}, None),
        ({"status": "resolved", "fixed_version": "0"}, None),
        ({"status": "open"}, ("affected", "")),
        ({"status": "undetermined"}, ("undetermined", "")),
    ],
    ids=["older", "corrected", "never affected", "open", "undetermined"],
)
def test_the_tracker_speaks_of_sources(
    release: dict[str, str], expected: tuple[str, str] | None, contents: Contents, tmp_path: Path
) -> None:
    """All packages of a source are judged by the source's version."""
    told = found(contents, feed(tmp_path, {"glibc": issue(**release)}))
    names = ["libc6", "libc6-doc"] if expected else []
    assert [(one["package"], one["status"], one["fixed"]) for one in told] == [
        (name, *(expected or ())) for name in names
    ]


def osv(ecosystem: str, name: str, *events: dict[str, str], **more: object) -> dict[str, object]:
    told = {"package": {"ecosystem": ecosystem, "name": name}, **more}
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}]
    return {"id": "OSV-1", "summary": "bad", "affected": [{**told, "ranges": ranges}]}


OSV: dict[str, tuple[dict[str, object], list[tuple[str, str]]]] = {
    "a source of this release": (
        osv("Debian:13", "dash", {"introduced": "0"}, {"fixed": "0.5.13-1"}),
        [("dash", "0.5.13-1")],
    ),
    "another release": (osv("Debian:12", "dash", {"introduced": "0"}), []),
    "corrected before": (osv("Debian:13", "dash", {"introduced": "0"}, {"fixed": "0.5.12-1"}), []),
    "introduced later": (osv("Debian:13", "dash", {"introduced": "0.6"}), []),
    "last affected before": (
        osv("Debian:13", "dash", {"introduced": "0"}, {"last_affected": "0.5.11"}),
        [],
    ),
    "a Python package by another spelling": (
        osv("PyPI", "some-wheel", {"introduced": "1.1"}),
        [("Some_Wheel", "")],
    ),
    "a list of versions": (osv("PyPI", "some-wheel", versions=["1.2"]), [("Some_Wheel", "")]),
}


@pytest.mark.parametrize("case", OSV)
def test_osv_speaks_of_ranges(case: str, contents: Contents, tmp_path: Path) -> None:
    """A record applies by ecosystem, name, and the events of its ranges."""
    record, expected = OSV[case]
    told = found(contents, feed(tmp_path, [record]))
    assert [(one["package"], one["fixed"]) for one in told] == expected


def test_packages_of_containers_are_judged_too(contents: Contents, tmp_path: Path) -> None:
    """A finding in a container names it."""
    known = report(
        take_inventory(contents), "trixie", [feed(tmp_path, {"dash": issue(status="open")})]
    )
    assert isinstance(known["findings"], list)
    assert {one["where"] for one in known["findings"]} == {"", "localhost/skerry/hub:1"}


def test_without_a_feed_nothing_is_claimed(contents: Contents) -> None:
    """Unknown is another thing than nothing found."""
    known = report(take_inventory(contents), "trixie", [])
    assert known == {"state": "unknown: no feed was given", "feeds": [], "findings": None}


def test_a_feed_without_a_match_says_so(contents: Contents, tmp_path: Path) -> None:
    """The feed is named by its digest, and there are no findings."""
    known = report(
        take_inventory(contents), "trixie", [feed(tmp_path, {"other": issue(status="open")})]
    )
    assert (known["state"], known["findings"]) == ("0 findings", [])


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '{"a": 1}', '"x"'])
def test_what_is_no_feed_is_refused(text: str, tmp_path: Path) -> None:
    """A cut or other file never counts as a feed without findings."""
    file = tmp_path / "feed.json"
    file.write_text(text)
    with pytest.raises(FactoryError, match=r"feed .*feed\.json is n"):
        Feed.read(file)


def test_an_absent_feed_is_told(tmp_path: Path) -> None:
    """The file is named with the reason."""
    with pytest.raises(FactoryError, match="cannot be read: No such file"):
        Feed.read(tmp_path / "absent")
