"""The command under its other name: upstream's spelling, Skerry's doing."""

import subprocess
import sys
from pathlib import Path

import pytest

from skerry import __version__
from skerry.base.errors import SkerryError
from skerry.cli._iotedge import translated
from skerry.cli.main import build_parser, run_alias


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("list", "list"),
        ("logs -f --tail 5 --since 1h sensor", "logs -f --tail 5 --since 1h sensor"),
        ("config apply -c x.toml", "config apply --config x.toml"),
        ("config apply --config-file=x.toml", "config apply --config=x.toml"),
        ("config mp -c TEXT -f --config-file x", "config mp -c TEXT -f --out x"),
        ("config import --config-file x", "config import --config x"),
        ("check --aziot-edged /bin/x --verbose -o json", "check --verbose -o json"),
        ("system logs -- -H x", "system logs -- -H x"),
        ("support-bundle -e -q -o -", "support-bundle -e -q -o -"),
        ("-H unix:///var/run/iotedge/mgmt.sock list", "list"),
    ],
)
def test_upstreams_spelling_is_understood(given: str, expected: str) -> None:
    """Renamed options, those without a meaning here, and the address that is ours anyway."""
    words, host = translated(given.split())
    assert (words, host) == (expected.split(), None)
    build_parser().parse_args(words)


def test_another_address_is_asked() -> None:
    """A socket by its path; what is no socket is refused."""
    assert translated(["--host=unix:///x.sock", "list"]) == (["list"], "unix:///x.sock")
    with pytest.raises(SkerryError, match="--host is 'http://x', expected unix:///path"):
        translated(["list", "-H", "http://x"])


def test_a_mistake_is_told_under_the_name_that_was_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit status 1."""
    assert run_alias(["-H", "x", "list"]) == 1
    assert capsys.readouterr().err.startswith("iotedge: --host is 'x'")


def test_the_name_of_the_program_decides(tmp_path: Path) -> None:
    """A link named iotedge speaks upstream's language."""
    program = tmp_path / "skerry"
    program.write_text(f"#!{sys.executable} -I\nfrom skerry.cli.main import main\nmain()\n")
    program.chmod(0o755)
    (tmp_path / "iotedge").symlink_to(program)
    asked = [str(tmp_path / "iotedge"), "version"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == f"iotedge {__version__}\n"
    asked = [str(tmp_path / "skerry"), "version"]
    assert subprocess.run(asked, capture_output=True, timeout=30, check=False).returncode == 2
