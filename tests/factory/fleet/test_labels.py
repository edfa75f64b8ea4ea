"""The label sheet: what is printed can be scanned, and the same fleet prints the same bytes."""

import json
import subprocess
from pathlib import Path

import pytest

from factory.fleet.conftest import STANDALONE, Site
from skerry_factory.fleet.labels import label_sheet, write_labels
from skerry_factory.fleet.ledger import Entry, Made

MANY = 22
"""One more than a page has."""


def entry(number: int) -> Entry:
    return Entry(
        time="2026-09-02T12:00:00+00:00",
        device=f"press-{number:02}",
        hostname=f"press-{number:02}.a-long-domain.plant.example",
        registration_id=f"press-{number:02}",
        address="10.0.0.7/24",
        labels={"hall": "Łódź Süd", "line": "3"},
        made=Made("f", "i", 1, f"{number:064x}"[::-1]),
        certificate=None,
        not_after=None,
    )


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("labels") / "labels.pdf"
    write_labels(file, map(entry, range(MANY)))
    return file


def test_every_code_can_be_scanned(sheet: Path) -> None:
    """A scanner reads device and seed from each label of the rendered pages."""
    target = str(sheet.with_suffix(""))
    command = ["pdftoppm", "-r", "150", "-gray", "-png", str(sheet), target]
    subprocess.run(command, check=True)
    pages = sorted(sheet.parent.glob("*.png"))
    assert len(pages) == 2
    scan = ["zbarimg", "-q", "--raw", "--nodbus", *map(str, pages)]
    lines = subprocess.check_output(scan, text=True).splitlines()
    told = {json.loads(line)["device"]: json.loads(line)["seed"] for line in lines}
    assert told == {e.device: e.made.seed[:12] for e in map(entry, range(MANY))}


def test_people_can_read_it(sheet: Path) -> None:
    """Name, address and labels stand beside the code; a long name is cut with a mark."""
    text = subprocess.check_output(["pdftotext", "-layout", sheet, "-"], text=True)
    assert text.count("hall: Łódź Süd") == MANY
    assert all(f"press-{number:02}" in text for number in range(MANY))
    assert "press-00.a-long" in text
    assert "…" in text


def test_the_same_labels_are_the_same_bytes() -> None:
    """Nothing of the moment gets into the sheet."""
    assert label_sheet([entry(1)]) == label_sheet([entry(1)])


def test_the_sheet_comes_with_the_stamping(site: Site) -> None:
    """`--labels` writes the sheet for all devices of the fleet, in its order."""
    from skerry_factory import cli

    site.write(STANDALONE)
    sheet = site.folder / "labels.pdf"
    arguments = ["--image", str(site.image), "--out", str(site.out), "--labels", str(sheet)]
    assert cli.run(["stamp", "--fleet", str(site.file), *arguments]) == 0
    text = subprocess.check_output(["pdftotext", sheet, "-"], text=True)
    assert text.index("press-01") < text.index("press-02") < text.index("press-03")
