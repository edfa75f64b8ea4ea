"""The command itself: verbs, exit statuses, errors."""

import importlib
import subprocess
import sys

import pytest

from skerry import __version__
from skerry.cli.main import build_parser, run


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """`skerry --version` prints it and ends well."""
    with pytest.raises(SystemExit, match="0"):
        run(["--version"])
    assert capsys.readouterr().out == f"skerry {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["no-such-verb"], ["config"], ["config", "check"]])
def test_wrong_usage_ends_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing or unknown is said on standard error."""
    with pytest.raises(SystemExit, match="2"):
        run(arguments)
    captured = capsys.readouterr()
    assert (captured.out, captured.err.startswith("usage: skerry")) == ("", True)


def test_verbs_are_found_by_their_modules() -> None:
    """config and seed are verbs, helper modules are none."""
    text = build_parser().format_help()
    assert "config" in text
    assert "seed" in text
    assert "_device" not in text


def test_an_error_for_people_ends_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    """The message goes to standard error, without a traceback."""
    assert run(["config", "check", "/nonexistent/config.toml"]) == 1
    assert capsys.readouterr().err == (
        "skerry: /nonexistent/config.toml cannot be read: no such file or directory\n"
    )


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`skerry … | head -0` leaves no traceback."""
    reading = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reading.wait()
    assert reading.stdin is not None
    done = subprocess.run(
        [sys.executable, "-m", "skerry.cli.main", "config", "check", "-"],
        input=b"x = 1\n",
        stdout=reading.stdin,
        stderr=subprocess.PIPE,
        check=False,
    )
    reading.stdin.close()
    assert (done.returncode, done.stderr) == (0, b"")


def test_finding_the_verbs_loads_no_verb_s_work() -> None:
    """Neither the schema nor an HTTP stack is loaded before a verb runs."""
    code = (
        "import sys; from skerry.cli.main import build_parser; build_parser();"
        "print(sorted(n for n in sys.modules if n.startswith('skerry.') and '.cli' not in n))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert "skerry.config" not in loaded
    assert "skerry.base.client" not in loaded


def test_the_module_runs_as_a_program() -> None:
    """`python -m skerry.cli.main` is the command."""
    assert importlib.util.find_spec("skerry.cli.main") is not None
    done = subprocess.run(
        [sys.executable, "-m", "skerry.cli.main", "--version"], capture_output=True, check=True
    )
    assert done.stdout.decode() == f"skerry {__version__}\n"
