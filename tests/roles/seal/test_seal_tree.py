"""The module seal_tree: finds what was planted, leaves the rest, tells in check mode."""

from pathlib import Path

import pytest

from harness.modules import run_module

PLANTED = (
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/dbus/machine-id",
    "root/.ansible/tmp/left",
    "home/tech/.bash_history",
    "var/log/dpkg.log",
    "var/log/apt/history.log",
    "var/log/journal/0123/system.journal",
    "var/log/wtmp",
    "var/cache/ldconfig/aux-cache",
    "var/cache/apt/pkgcache.bin",
    "var/lib/apt/lists/some_dists_Release",
    "var/lib/dpkg/status-old",
    "etc/passwd-",
    "etc/.pwd.lock",
)
KEPT = (
    "etc/ssh/sshd_config",
    "etc/passwd",
    "var/lib/dpkg/status",
    "usr/lib/python3/dist-packages/__pycache__/docker.cpython-313.pyc",
    "home/tech/.bashrc",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in (*PLANTED, *KEPT):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/hostname").write_text("build-machine\n")
    (root / "etc/resolv.conf").write_text("nameserver of the build machine\n")
    return root


def files_of(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_what_was_planted_is_gone_and_the_rest_stays(tree: Path) -> None:
    """Keys, seeds, logs and left-overs go; configuration and compiled modules stay."""
    answer = run_module("seal", "seal_tree", {"root": str(tree)})
    assert answer["changed"] is True
    assert files_of(tree) == {*KEPT, "etc/machine-id", "etc/hostname"}


def test_identity_files_are_empty(tree: Path) -> None:
    """Machine id and host name are there and empty: systemd fills them at boot."""
    run_module("seal", "seal_tree", {"root": str(tree)})
    sizes = [(tree / name).stat().st_size for name in ("etc/machine-id", "etc/hostname")]
    assert sizes == [0, 0]


def test_the_resolver_is_the_local_one(tree: Path) -> None:
    """The build machine's resolver is replaced by the link to systemd-resolved."""
    run_module("seal", "seal_tree", {"root": str(tree)})
    link = tree / "etc/resolv.conf"
    assert link.readlink().as_posix() == "../run/systemd/resolve/stub-resolv.conf"


def test_sources_are_those_of_the_definition(tree: Path) -> None:
    """A build mirror does not stay in the image."""
    (tree / "etc/apt").mkdir()
    (tree / "etc/apt/sources.list").write_text("deb file:/build-mirror trixie main\n")
    run_module("seal", "seal_tree", {"root": str(tree), "apt_sources": "deb file:/x trixie main\n"})
    assert (tree / "etc/apt/sources.list").read_text() == "deb file:/x trixie main\n"


def test_a_sealed_tree_is_not_changed_again(tree: Path) -> None:
    """The second run finds nothing."""
    run_module("seal", "seal_tree", {"root": str(tree)})
    assert run_module("seal", "seal_tree", {"root": str(tree)})["changed"] is False


def test_check_mode_names_each_path_and_removes_none(tree: Path) -> None:
    """Check mode shows what would go."""
    before = files_of(tree)
    answer = run_module("seal", "seal_tree", {"root": str(tree)}, check=True)
    assert "etc/ssh/ssh_host_ed25519_key\n" in answer["diff"]["before"]
    assert files_of(tree) == before
