"""The package on a running device: installed, without a configuration, removed, purged."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness.nspawn import Device, running_device
from skerry_factory.deb import build_deb

pytestmark = pytest.mark.root

SOCKETS = ("keyd.sock", "certd.sock")
WAITING = ("skerry-edged.service", "skerry-edged-mgmt.socket")
PLACES = ("/etc/skerry", "/var/lib/skerry", "/usr/lib/python3/dist-packages/skerry")
ASK_KEYD = (
    "from pathlib import Path; from skerry.base.client import ServiceClient; "
    "keyd = ServiceClient(Path('/run/skerry/keyd.sock'), '2021-05-01'); "
    "print(len(keyd.get('/config')['digest']))"
)


@dataclass(frozen=True)
class Life:
    """What was seen of the package on one device, from installation to purge."""

    sockets: list[str]
    answer: str
    called: str
    failed: str
    waiting: list[str]
    after_remove: list[str]
    after_purge: list[str]
    users: str


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    work = tmp_path_factory.mktemp("device")
    with running_device(work) as device:
        package = build_deb("trixie", work / "docker")
        say(device, "dpkg", "--install", f"/var/lib/docker/{package.name}")
        sockets = say(device, "ls", "/run/skerry").split()
        answer = say(device, "python3", "-c", ASK_KEYD).strip()
        called = device.run("skerry", "list").stderr
        failed = say(device, "systemctl", "--failed", "--no-legend", "--plain")
        waiting = [device.run("systemctl", "is-active", unit).stdout.strip() for unit in WAITING]
        say(device, "dpkg", "--remove", "skerry")
        after_remove = leftovers(device)
        say(device, "dpkg", "--purge", "skerry")
        users = say(device, "getent", "passwd", "skerry-keys")
        yield Life(sockets, answer, called, failed, waiting, after_remove, leftovers(device), users)


def say(device: Device, *command: str) -> str:
    done = device.run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def leftovers(device: Device) -> list[str]:
    """Return the places that are still there, and files that name the package's units."""
    found = [place for place in PLACES if device.run("test", "-e", place).returncode == 0]
    units = device.run("find", "/etc/systemd", "/var/lib/systemd", "-name", "skerry*")
    return found + units.stdout.split()


def test_an_installed_package_listens(life: Life) -> None:
    """Installing starts the sockets, and a call starts the sandboxed service behind one."""
    assert set(SOCKETS) <= set(life.sockets)
    assert life.answer == "64"


def test_without_a_configuration_nothing_fails(life: Life) -> None:
    """edged and its sockets wait; a command that needs them says so, and no unit fails."""
    assert life.waiting == ["inactive", "inactive"]
    assert "/run/skerry/mgmt.sock" in life.called
    assert life.failed == ""


def test_removing_keeps_configuration_and_state(life: Life) -> None:
    """After a removal keys and configuration are there, the program is not."""
    assert {"/etc/skerry", "/var/lib/skerry"} <= set(life.after_remove)
    assert "/usr/lib/python3/dist-packages/skerry" not in life.after_remove


def test_purging_leaves_users_only(life: Life) -> None:
    """After a purge nothing is left but the users, whose numbers may own files elsewhere."""
    assert life.after_purge == []
    assert life.users.startswith("skerry-keys:x:13611:13611:")
