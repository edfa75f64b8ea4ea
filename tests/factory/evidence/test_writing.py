"""Evidence in files beside an image: bound to it, signed with it, the same each time."""

import json
import os
from pathlib import Path

import pytest

from harness.disks import small_disk
from skerry_factory.cli import run
from skerry_factory.evidence.writing import has_evidence, read_validation, write_evidence
from skerry_factory.paths import Checkout

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.roles.base.test_verify" name="test_a" time="1"/>
<testcase classname="tests.roles.base.test_verify" name="test_b" time="1"><failure>no</failure>
</testcase>
</testsuite></testsuites>"""
STATUS = "Package: dash\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The folder of a build."""
    small_disk(tmp_path, {"root-a": {"var/lib/dpkg/status": STATUS, "etc/<own>": "own"}})
    manifest = {
        "id": "x",
        "version": "0.1.0",
        "suite": "trixie",
        "arch": "amd64",
        "containers": [],
        "inputs": {"all": "c" * 64},
        "outputs": [{"file": "disk.raw", "format": "raw", "sha256": "b" * 64}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_evidence_is_bound_to_its_image(image: Path) -> None:
    """The digest of the image is in every document; another image has none of this."""
    assert not has_evidence(image)
    write_evidence(image, Checkout.of_package())
    assert has_evidence(image)
    for name in ("sbom.cdx.json", "sbom.spdx.json", "provenance.json", "evidence.json"):
        assert "b" * 64 in (image / "evidence" / name).read_text()
    manifest = (image / "manifest.json").read_text()
    (image / "manifest.json").write_text(manifest.replace("b" * 64, "d" * 64))
    assert not has_evidence(image)


def test_the_page_says_what_is_unknown(image: Path) -> None:
    """Without a feed and a validation the page says so, and it needs nothing of elsewhere."""
    page = write_evidence(image, Checkout.of_package()).page.read_text()
    assert "unknown: no feed was given" in page
    assert "not validated" in page
    assert "no vulnerabilities" not in page
    assert "<script" not in page
    assert "src=" not in page


def test_the_same_image_has_the_same_evidence(image: Path) -> None:
    """Written twice, every file has the same bytes."""
    write_evidence(image, Checkout.of_package())
    first = {file.name: file.read_bytes() for file in (image / "evidence").iterdir()}
    write_evidence(image, Checkout.of_package())
    assert {file.name: file.read_bytes() for file in (image / "evidence").iterdir()} == first


def test_a_validation_counts_when_it_is_newer(image: Path, tmp_path: Path) -> None:
    """Checks of before the build say nothing of this image."""
    report = tmp_path / "report"
    report.mkdir()
    assert read_validation(image, report) == {"state": "not validated"}
    (report / "junit.xml").write_text(JUNIT)
    told = read_validation(image, report)
    assert (told["state"], told["passed"], told["failed"]) == ("invalid", 1, 1)
    later = (report / "junit.xml").stat().st_mtime_ns + 1_000_000
    os.utime(image / "manifest.json", ns=(later, later))
    assert read_validation(image, report) == {"state": "not validated since it was built"}


def test_the_verb_writes_and_tells_where(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0 and the page's path; a folder without an image is refused."""
    assert run(["evidence", str(image)]) == 0
    assert capsys.readouterr().out == f"{image}/evidence/index.html\n"
    assert run(["evidence", str(image / "root-a")]) == 1
    assert "holds no image; expected the folder of a build" in capsys.readouterr().err
