"""The last changes of a tree: what lies on the data partition, what must not stay."""

import os
from pathlib import Path

import pytest

from skerry_factory.finish import enable_networkd, other_sources, scrub, split
from skerry_factory.tree import copy_plain_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name in ("etc/skerry/keyd", "var/lib/docker", "var/log/apt", "run/x", "root/.ansible"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/skerry/keyd/00.toml").write_text("x")
    (folder / "etc/machine-id").write_text("0" * 32)
    (folder / "var/log/dpkg.log").write_text("x")
    return folder


def test_what_outlives_a_slot_moves_to_data(root: Path, tmp_path: Path) -> None:
    """Content moves, mount points stay, and what was absent is there empty."""
    data = tmp_path / "data"
    data.mkdir()
    (root / "var/lib/docker").chmod(0o710)
    split(root, data)
    assert (data / "etc/skerry/keyd/00.toml").read_text() == "x"
    assert list((root / "etc/skerry").iterdir()) == []
    assert (data / "lib/docker").stat().st_mode & 0o777 == 0o710
    assert (root / "var/lib/containerd").is_dir()
    assert (data / "lib/containerd").is_dir()


def test_traces_of_the_build_are_removed(root: Path) -> None:
    """Logs, run-time files and Ansible's left-overs go; the machine-id is empty and read-only."""
    scrub(root)
    assert (root / "etc/machine-id").read_text() == ""
    assert (root / "etc/machine-id").stat().st_mode & 0o777 == 0o444
    left = {
        str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir() or not any(p.iterdir())
    }
    assert left == {
        "etc/machine-id",
        "etc/skerry/keyd/00.toml",
        "var/lib/docker",
        "var/log",
        "run",
        "root",
    }


def test_the_mirror_of_the_build_is_found(root: Path) -> None:
    """Sources other than those of a sealed image are a finding."""
    (root / "etc/apt").mkdir()
    (root / "etc/apt/sources.list").write_text("deb http://mirror.site.example trixie main\n")
    assert other_sources(root, "deb http://mirror.site.example trixie main\n") == []
    assert "the mirror of the build" in other_sources(root, "deb other\n")[0]


def test_plain_files_belong_to_root_with_plain_modes(tmp_path: Path) -> None:
    """Modes follow the executable bit alone, links stay links, existing files are replaced."""
    source, target = tmp_path / "overlay", tmp_path / "tree"
    (source / "etc/new").mkdir(parents=True)
    (source / "etc/new/program").write_text("x")
    (source / "etc/new/program").chmod(0o700)
    (source / "etc/new/file").write_text("new")
    (source / "etc/new/file").chmod(0o640)
    (source / "etc/link").symlink_to("/usr/lib/x")
    (target / "etc/new").mkdir(parents=True)
    (target / "etc/new/file").write_text("old")
    copy_plain_files(source, target)
    copy_plain_files(source, target)
    modes = {n: (target / "etc/new" / n).stat().st_mode & 0o777 for n in ("program", "file")}
    assert modes == {"program": 0o755, "file": 0o644}
    assert (target / "etc/new/file").read_text() == "new"
    assert str((target / "etc/link").readlink()) == "/usr/lib/x"
    assert (target / "etc/new/file").stat().st_uid == os.geteuid()


def test_fixed_addresses_need_networkd(tmp_path: Path) -> None:
    """The service is started with the system, once."""
    for _ in range(2):
        enable_networkd(tmp_path)
    link = tmp_path / "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    assert str(link.readlink()) == "/usr/lib/systemd/system/systemd-networkd.service"
