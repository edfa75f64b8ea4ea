"""Real packages: the base that root makes is the one that everybody makes."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

USER = "skerry-container-test"
BUILD_SECONDS = 600


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everyone may enter, and an account with sub-ids and nothing else."""
    made = Path(tempfile.mkdtemp(prefix="skerry-container-test-"))
    made.chmod(0o755)
    subprocess.run(["useradd", "--no-create-home", USER], check=True)
    try:
        for option in ("--add-subuids", "--add-subgids"):
            subprocess.run(["usermod", option, "970000-1035535", USER], check=True)
        yield made
    finally:
        subprocess.run(["userdel", USER], check=False)
        shutil.rmtree(made)


def build(home: Path, *prefix: str) -> dict[str, str]:
    """Build all images from nothing below a folder; returns their digests."""
    command = [*prefix, "env", "-i", f"HOME={home}", "PATH=/usr/bin:/bin", sys.executable, "-m"]
    command += ["skerry_factory.cli", "containers", "base", "agent", "sample-sensor"]
    command += ["--output=json", f"--out={home / 'out'}", f"--cache={home / 'cache'}"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return {image["file"]: image["sha256"] for image in json.loads(done.stdout)["images"]}


def test_everyone_builds_the_same_images(folder: Path) -> None:
    """An account without rights gets the bytes that root gets, each from an empty cache."""
    mine, theirs = folder / "root", folder / "user"
    for home in (mine, theirs):
        home.mkdir()
    shutil.chown(theirs, USER, USER)
    become = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"]
    assert build(theirs, *become) == build(mine)
    assert (theirs / "out/agent.tar").owner() == USER
    assert not list(theirs.glob("cache/making/*"))
