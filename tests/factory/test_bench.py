"""Bench figures: median and spread, targets, and the page that shows them."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from skerry_factory.bench import Result, machine, read_lines, summarise, write

PAGE = "# bench\n\nHow.\n\n<!-- table -->\nold\n<!-- /table -->\n\nAfter.\n"


def test_the_value_is_the_median() -> None:
    """One slow run moves the maximum and not the value."""
    result = summarise("no-op build", [0.5, 9.0, 0.4], "s", target=1)
    assert (result.value, result.min, result.max, result.runs) == (0.5, 0.4, 9.0, 3)
    assert result.met is True


def test_a_missed_target_is_told() -> None:
    """A median over the target is not met."""
    assert summarise("memory", [61.0], "MB", target=60).met is False


@pytest.mark.parametrize(("own", "met"), [(1200.0, True), (800.0, False)])
def test_the_target_of_a_rate_is_a_lower_bound(tmp_path: Path, own: float, met: bool) -> None:
    """More of a rate is better, and the table says so."""
    result = summarise("sign", [own], "1/s", target=1000)
    assert result.met is met
    (tmp_path / "README.md").write_text(PAGE)
    write(tmp_path, machine("none"), [result])
    assert "| ≥ 1000 1/s |" in (tmp_path / "README.md").read_text()


def test_figures_of_other_programs_are_read(tmp_path: Path) -> None:
    """tests/perf leaves a line of JSON for each figure."""
    result = summarise("sign", [1200.0, 1300.0], "1/s", target=1000)
    (tmp_path / "figures").write_text(f"{json.dumps(asdict(result))}\n" * 2)
    assert read_lines(tmp_path / "figures") == [result, result]


def test_without_a_target_nothing_is_met_or_missed() -> None:
    """A reported figure has no verdict."""
    assert summarise("boot to workload", [40.0], "s").met is None


@pytest.mark.parametrize(("own", "met"), [(125.0, True), (140.0, False)])
def test_with_a_peer_the_target_bounds_the_ratio(own: float, met: bool) -> None:
    """The ratio is to the peer's median of the same run."""
    result = summarise("cold build", [own], "s", target=1.3, peers=[90.0, 100.0, 500.0])
    assert (result.peer, result.ratio, result.met) == (100.0, own / 100, met)


def test_the_files_are_written(tmp_path: Path) -> None:
    """latest.json has the documented keys, and only the table of the page changes."""
    (tmp_path / "README.md").write_text(PAGE)
    results = [
        summarise("cold build", [120.0], "s", target=1.3, peers=[100.0]),
        summarise("memory", [61.0], "MB", target=60),
    ]
    write(tmp_path, machine("emulated"), results)
    told = json.loads((tmp_path / "results/latest.json").read_text())
    assert set(told) == {"machine", "results"}
    assert set(told["results"][0]) == set(Result.__dataclass_fields__)
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("# bench\n\nHow.\n\n<!-- table -->\n| figure |")
    assert page.endswith("<!-- /table -->\n\nAfter.\n")
    assert "| cold build | 120 s | 120 | 120 | 1 | ≤ 1.3 × peer | 100 s | 1.20 | yes |" in page
    assert "| memory | 61 MB | 61 | 61 | 1 | ≤ 60 MB |  |  | no |" in page


def test_writing_twice_is_the_same_as_once(tmp_path: Path) -> None:
    """The table is replaced, not added."""
    (tmp_path / "README.md").write_text(PAGE)
    described = machine("emulated")
    for _ in range(2):
        write(tmp_path, described, [summarise("memory", [50.0], "MB", target=60)])
    assert (tmp_path / "README.md").read_text().count("| memory |") == 1
