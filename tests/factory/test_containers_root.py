"""Real packages: the base that root makes is the one that everybody makes."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.accounts import account, becoming
from skerry_factory.container_definition import BASE, container_names
from skerry_factory.paths import Checkout

pytestmark = pytest.mark.root

BUILD_SECONDS = 600


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everyone may enter."""
    made = Path(tempfile.mkdtemp(prefix="skerry-container-test-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def build(home: Path, *prefix: str) -> dict[str, str]:
    """Build all images from nothing below a folder; returns their digests."""
    command = [*prefix, "env", "-i", f"HOME={home}", "PATH=/usr/bin:/bin", sys.executable, "-m"]
    names = [BASE, *container_names(Checkout.of_package())]
    command += ["skerry_factory.cli", "containers", *names]
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
    with account("970000-1035535") as name:
        shutil.chown(theirs, name, name)
        assert build(theirs, *becoming(name)) == build(mine)
        assert (theirs / "out/agent.tar").owner() == name
    assert not list(theirs.glob("cache/making/*"))
