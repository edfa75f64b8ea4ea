"""`skerry-factory deb`: where the package is, as text and as JSON."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

FACTORY = Path(sys.executable).with_name("skerry-factory")


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(FACTORY), "deb", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_json_names_the_file_and_its_digest(tmp_path: Path) -> None:
    """The result holds path, sha256 and suite of a package that is there."""
    done = run("--out", str(tmp_path), "--output", "json")
    told = json.loads(done.stdout)
    package = Path(told["file"])
    assert (done.returncode, told["suite"]) == (0, "trixie")
    assert told["sha256"] == hashlib.sha256(package.read_bytes()).hexdigest()


def test_an_unknown_suite_exits_1(tmp_path: Path) -> None:
    """The reason is on standard error, nothing on standard output, nothing in the folder."""
    done = run("--suite", "sarge", "--out", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "'sarge' has no runtime package" in done.stderr
    assert list(tmp_path.iterdir()) == []
