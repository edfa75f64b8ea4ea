"""`tools/setup`: system packages from the list, only what is missing, and words when it may not."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

DPKG_QUERY = """#!/bin/sh
for name in mmdebstrap git; do echo "ii  $name"; done
"""
APT_GET = """#!/bin/sh
echo "$*" >> "$APT_LOG"
case "$*" in
  update*) touch "$APT_LOG.updated" ;;
  install*) [ ! -e "$APT_LOG.stale" ] || [ -e "$APT_LOG.updated" ] || exit 100 ;;
esac
"""


STAMPS = {"lock": ["requirements/dev.lock", "/usr/bin/python3"], "project": ["pyproject.toml"]}


def digest(checkout: Path, files: list[str]) -> str:
    """The digest as the script makes it: sha256 of sha256sum's lines."""
    done = subprocess.run(
        ["sha256sum", *files], cwd=checkout, capture_output=True, timeout=10, check=True
    )
    return hashlib.sha256(done.stdout).hexdigest()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose Python side is done, with a list of three packages, one of them missing."""
    root, programs = tmp_path / "checkout", tmp_path / "bin"
    for folder in (root / "tools", root / "requirements", root / ".venv", programs):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "tools/setup", root / "tools/setup")
    (root / "requirements/system-packages.txt").write_text("git\nmmdebstrap  # why\nmtools\n")
    (root / "requirements/dev.lock").write_text("h11==0.16.0\n")
    (root / "pyproject.toml").write_text("[project]\n")
    fakes = {"dpkg-query": DPKG_QUERY, "apt-get": APT_GET, "id": "#!/bin/sh\necho 0\n"}
    for name, text in fakes.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return root


def run(checkout: Path) -> subprocess.CompletedProcess[str]:
    for name, files in STAMPS.items():
        (checkout / f".venv/{name}.stamp").write_text(digest(checkout, files) + "\n")
    path = f"{checkout.parent}/bin{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["tools/setup"],
        cwd=checkout,
        env={"PATH": path, "APT_LOG": str(checkout.parent / "apt.log")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def apt_log(checkout: Path) -> list[str]:
    log = checkout.parent / "apt.log"
    return log.read_text().splitlines() if log.exists() else []


def test_only_missing_packages_are_installed(checkout: Path) -> None:
    """apt-get is asked for the missing package alone, and the lists are not fetched."""
    done = run(checkout)
    assert done.returncode == 0, done.stderr
    assert apt_log(checkout) == ["install -qy --no-install-recommends mtools"]
    assert done.stderr == "setup     installing 1 system packages: mtools\n"


def test_with_nothing_missing_apt_is_not_asked(checkout: Path) -> None:
    """A second set-up says nothing and does nothing."""
    (checkout / "requirements/system-packages.txt").write_text("git\nmmdebstrap\n")
    done = run(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert apt_log(checkout) == []


def test_old_lists_are_fetched_once(checkout: Path) -> None:
    """When the install fails the package lists are fetched and it is tried again."""
    (checkout.parent / "apt.log.stale").touch()
    assert run(checkout).returncode == 0
    assert [line.split()[0] for line in apt_log(checkout)] == ["install", "update", "install"]


def test_without_root_it_says_what_is_missing(checkout: Path) -> None:
    """An ordinary user is told what to install; nothing is tried."""
    (checkout.parent / "bin/id").write_text("#!/bin/sh\necho 1000\n")
    done = run(checkout)
    assert done.returncode == 1
    assert "missing system packages: mtools" in done.stderr
    assert "apt-get install --no-install-recommends mtools" in done.stderr
    assert apt_log(checkout) == []


def test_a_failed_install_shows_what_apt_said(checkout: Path) -> None:
    """A package that cannot be had fails the set-up, with apt's words."""
    (checkout.parent / "bin/apt-get").write_text("#!/bin/sh\necho E: no such thing; exit 100\n")
    done = run(checkout)
    assert done.returncode == 1
    assert "E: no such thing" in done.stderr
