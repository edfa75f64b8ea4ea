"""The install phase of all roles over a tree: check mode, converge, again, verify, repair."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.checks import Checked, run_checks
from harness.playbook import Run, play
from harness.preload import make_preload
from harness.tree import BUILD_FILES, Overlay, base_tree, chroot_environment, enter, mounted
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.hygiene import find_leaks

pytestmark = pytest.mark.root

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl test"
DELETED = "etc/systemd/journald.conf.d/10-skerry.conf"
NOT_WRITTEN = (
    "var/cache/apt",
    "var/lib/apt",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/triggers/Lock",
    "var/log/dpkg.log",
)
VARIABLES: dict[str, object] = {
    "image_roles": [
        "base",
        "engine",
        "gateway",
        "hardening",
        "tpm",
        "runtime",
        "identity",
        "preload",
        "seal",
    ],
    "image_timezone": "Europe/Berlin",
    "image_users": [{"name": "tech", "groups": ["sudo"], "ssh_authorized_keys": [KEY]}],
    "image_network": {"dhcp": True},
    "image_apt_sources": "deb [trusted=no] file:/nowhere trixie main\n",
    "runtime_package": f"/{BUILD_FILES}/skerry.deb",
    "preload_folder": f"/{BUILD_FILES}/preload",
}


@dataclass(frozen=True)
class Sequence:
    """One tree through its whole life; each test looks at one step."""

    overlay: Overlay
    checked_first: Run
    upper_after_check: tuple[str, ...]
    converged: Run
    again: Run
    verified: Checked
    repaired: Run


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory, runtime_package: Path) -> Sequence:
    work = tmp_path_factory.mktemp("tree")
    overlay = Overlay(base_tree(), work)
    overlay.make_folders()
    files = work / "files"
    files.mkdir()
    (files / "skerry.deb").write_bytes(runtime_package.read_bytes())
    make_preload(files / "preload")

    def run(check: bool = False) -> Run:
        return play(
            "build_linux.yml",
            inventory(overlay.root),
            VARIABLES,
            work,
            check=check,
            wrap=enter(overlay, [], files),
            environment=chroot_environment(SOURCE_DATE_EPOCH),
        )

    checked_first = run(check=True)
    after_check = names_below(overlay.upper)
    converged = run().succeeded()
    again = run()
    where = [f"--hosts={overlay.root}", "--connection=chroot"]
    verified = run_checks(where, work / "report.xml", enter(overlay, []))
    (overlay.upper / DELETED).unlink()
    repaired = run()
    return Sequence(overlay, checked_first, after_check, converged, again, verified, repaired)


def inventory(root: Path) -> dict[str, object]:
    host = {
        "ansible_connection": "community.general.chroot",
        "ansible_host": str(root),
        "ansible_remote_tmp": "/tmp/.ansible",
    }
    return {"all": {"hosts": {"image": host}}}


def names_below(folder: Path) -> tuple[str, ...]:
    """Files that a run left in a tree; locks, caches and logs of apt and dpkg apart."""
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return tuple(str(name) for name in names if not str(name).startswith(NOT_WRITTEN))


def test_check_mode_passes_on_a_virgin_tree(sequence: Sequence) -> None:
    """Check mode before the first run needs nothing that an earlier task would have made."""
    assert (sequence.checked_first.status, sequence.checked_first.failures) == (0, [])


def test_check_mode_writes_nothing(sequence: Sequence) -> None:
    """Check mode leaves the tree as it was."""
    assert sequence.upper_after_check == ()


def test_check_mode_says_the_truth(sequence: Sequence) -> None:
    """What check mode says would change is what the run changes."""
    assert sequence.checked_first.changed == sequence.converged.changed


def test_the_second_run_changes_nothing(sequence: Sequence) -> None:
    """A run over its own result changes nothing."""
    assert (sequence.again.failures, sequence.again.changed) == ([], [])


def test_the_tree_passes_the_appliance_checks(sequence: Sequence) -> None:
    """Every check that needs no running system passes."""
    assert sequence.verified.failed == {}
    assert len(sequence.verified.passed) > 30


def test_a_deleted_file_is_repaired_and_nothing_else(sequence: Sequence) -> None:
    """Only the task that owns a missing file changes something."""
    assert sequence.repaired.changed == ["base : Write the files of the operating system"]


def test_nothing_is_started_or_activated(sequence: Sequence) -> None:
    """No task of phase activate and no handler runs in a tree."""
    assert [name for name in sequence.converged.executed if "Start" in name] == []
    assert [name for name in sequence.converged.executed if "Restart" in name] == []


def test_the_sealed_tree_has_nothing_unique_or_secret(sequence: Sequence) -> None:
    """The factory's own search finds nothing in what the roles wrote."""
    with mounted(sequence.overlay) as root:
        assert find_leaks(root) == []


def test_the_roles_are_few_steps(sequence: Sequence) -> None:
    """A step costs about half a second, so the roles have at most twenty-four that do work."""
    talk = ("Validating", "Load the", "Set up", "Seal the", "Run the", "Learn")
    steps = [name for name in sequence.converged.executed if not any(word in name for word in talk)]
    assert len(steps) <= 24, steps
