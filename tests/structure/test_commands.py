"""The three commands exist, explain themselves and tell usage errors apart from failures."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ("skerry", "skerry-factory", "skerry-lab")
BIN = Path(sys.executable).parent


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / command, *arguments], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_goes_to_standard_output(command: str) -> None:
    """`--help` prints the usage on standard output and exits 0."""
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {command}")


@pytest.mark.parametrize("command", COMMANDS)
def test_version_names_the_command(command: str) -> None:
    """`--version` prints name and version on standard output and exits 0."""
    done = run(command, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{command} ")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_verb_is_a_usage_error(command: str) -> None:
    """A verb that does not exist exits 2, with the reason on standard error."""
    done = run(command, "no-such-verb")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no-such-verb" in done.stderr
