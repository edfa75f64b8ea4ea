"""The rules of a test run in `conftest.py`, seen from outside: pytest on small test files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.lint import Outcome, report, run
from harness.tiers import Counts, tier_of

ROOT = Path(__file__).resolve().parents[2]

SKIPS = """
import pytest
def test_that_skips():
    pytest.skip("no such machine")
"""
TIERED = """
import pytest
@pytest.mark.vm
def test_vm(): pass
@pytest.mark.engine
def test_engine(): pass
def test_default(): pass
"""


def pytest_on(text: str, folder: Path, *options: str, **environment: str) -> str:
    file = folder / "test_it.py"
    file.write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-v"]
    command += ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}", *options, str(file)]
    kept = {key: value for key, value in os.environ.items() if key not in {"CI", "SKERRY_COUNTS"}}
    done = subprocess.run(
        command,
        env={**kept, "PYTHONPATH": str(ROOT / "tests"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_a_skip_fails_in_ci(tmp_path: Path) -> None:
    """With CI=true a skipped test is a failure that says why it was skipped."""
    output = pytest_on(SKIPS, tmp_path, CI="true")
    assert "1 failed" in output
    assert "skipped in CI, where every prerequisite must be met" in output
    assert "no such machine" in output


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    """On a person's machine a skipped test fails nothing."""
    assert "1 skipped" in pytest_on(SKIPS, tmp_path)


def test_fast_tiers_run_first(tmp_path: Path) -> None:
    """Tests run in the order of their tiers, and the closing table counts them."""
    output = pytest_on(TIERED, tmp_path, "-m", "not perf")
    places = [output.index(f"::test_{name} PASSED") for name in ("default", "engine", "vm")]
    assert places == sorted(places)
    assert "engine        1 tests" in output


@pytest.mark.parametrize(
    ("marks", "tier"),
    [((), "default"), (("parametrize",), "default"), (("root", "vm"), "vm"), (("vm",), "vm")],
)
def test_the_costliest_mark_decides(marks: tuple[str, ...], tier: str) -> None:
    """A test with two marks belongs to the later tier."""
    assert tier_of(marks) == tier


@pytest.mark.parametrize(("full", "expected"), [(False, 2), (True, 500)])
def test_counts_are_kept(tmp_path: Path, full: bool, expected: int) -> None:
    """What repeated tests were told to repeat is written down."""
    counts = Counts(full=full)
    assert counts.of("kills", reduced=2, full=500) == expected
    counts.write(tmp_path / "results/counts.json", {"vm": 3})
    told = json.loads((tmp_path / "results/counts.json").read_text())
    assert told == {
        "counts": "full" if full else "reduced",
        "tests": {"vm": 3},
        "repeats": {"kills": expected},
    }


def test_a_linter_that_complains_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    """The output of a failed linter is shown; a content one has one line."""
    assert (
        report(run("loud", [sys.executable, "-c", "print('a complaint'); raise SystemExit(1)"]))
        is False
    )
    assert "a complaint\n  loud" in capsys.readouterr().out
    assert report(Outcome("quiet", passed=True, seconds=0.1, output="nothing of interest")) is True
    assert capsys.readouterr().out == "  quiet            0.1 s   ok\n"
