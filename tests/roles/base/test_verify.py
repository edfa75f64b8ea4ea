"""The operating system of an appliance: users, SSH, network, time, journal."""

import pytest
from testinfra.host import Host

from harness.look import Seen, look

pytestmark = pytest.mark.appliance

WANTS = "/etc/systemd/system/multi-user.target.wants"
DHCP = "/etc/systemd/network/90-skerry-dhcp.network"
JOURNAL = "/etc/systemd/journald.conf.d/10-skerry.conf"
WAIT = "/etc/systemd/system/systemd-networkd-wait-online.service.d/10-skerry.conf"
SUDOERS = "/etc/sudoers.d/10-skerry"
LOCALE = "cat /etc/locale.conf"
FAILED = "systemctl --failed --no-legend --plain"
SUDO_CHECK = "/usr/sbin/visudo -cq"
SSHD = "/usr/sbin/sshd -T -C host=localhost,addr=127.0.0.1,user={user}"
AS_ROOT = SSHD.format(user="root")
AS_SERVICE = SSHD.format(user="skerry-edge")
AS_ADMINISTRATOR = SSHD.format(user='"$(getent group sudo | cut -d: -f4 | cut -d, -f1)"')
READ = {path: f"cat {path}" for path in (DHCP, JOURNAL, WAIT, "/etc/shadow")}
OWN_KEYS = "authorizedkeysfile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u"


@pytest.fixture(scope="module")
def seen(host: Host) -> Seen:
    links = ("systemd-networkd.service", "chrony.service", "ssh.service")
    paths = [SUDOERS, "/etc/localtime", "/etc/resolv.conf", *(f"{WANTS}/{name}" for name in links)]
    commands = [LOCALE, FAILED, SUDO_CHECK, AS_ROOT, AS_SERVICE, AS_ADMINISTRATOR, *READ.values()]
    return look(host, paths, commands)


def test_no_unit_has_failed(booted: Seen) -> None:
    """`systemctl --failed` is empty."""
    assert booted.said[FAILED].ok() == ""


@pytest.mark.parametrize(
    "setting",
    ["passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no"],
)
def test_ssh_takes_keys_of_people_only(booted: Seen, setting: str) -> None:
    """Nobody logs in over SSH with a password or as root."""
    assert setting in booted.said[AS_ROOT].ok().splitlines()


def test_administrators_log_in_with_the_keys_of_the_seed(booted: Seen) -> None:
    """sshd reads the seed's keys for administrators, and for them only."""
    wanted = f"{OWN_KEYS} /etc/skerry/ssh/authorized_keys"
    assert wanted in booted.said[AS_ADMINISTRATOR].ok().splitlines()
    assert OWN_KEYS in booted.said[AS_SERVICE].ok().splitlines()


def test_sudo_accepts_its_files(seen: Seen) -> None:
    """Administrators have sudo without a password, in a file that sudo's own checker accepts."""
    assert seen.file(SUDOERS).mode == 0o440
    seen.said[SUDO_CHECK].ok()


def test_every_account_is_without_a_password(seen: Seen) -> None:
    """No account can be logged in to with a password."""
    shadow = seen.said[READ["/etc/shadow"]].ok().splitlines()
    open_accounts = [line for line in shadow if not line.split(":")[1].startswith(("!", "*"))]
    assert open_accounts == []


@pytest.mark.parametrize("unit", ["systemd-networkd.service", "chrony.service", "ssh.service"])
def test_services_of_the_system_start_at_boot(seen: Seen, unit: str) -> None:
    """Network, clock and SSH are enabled."""
    assert seen.file(f"{WANTS}/{unit}").link is not None


def test_every_interface_has_a_default(seen: Seen) -> None:
    """An Ethernet interface without a file of its own gets its address by DHCP."""
    assert "DHCP=yes" in seen.said[READ[DHCP]].ok().splitlines()


def test_names_are_resolved_by_the_local_resolver(seen: Seen) -> None:
    """/etc/resolv.conf is the stub of systemd-resolved, not a file of the build machine."""
    link = seen.file("/etc/resolv.conf").link
    assert link is not None
    assert link.endswith("/run/systemd/resolve/stub-resolv.conf")


def test_the_time_zone_is_set(seen: Seen) -> None:
    """/etc/localtime leads into the time zone database."""
    assert (seen.file("/etc/localtime").link or "").startswith("/usr/share/zoneinfo/")


def test_the_locale_is_utf_8_everywhere(seen: Seen) -> None:
    """The language is the same on every appliance, and its text is UTF-8."""
    assert "LANG=C.UTF-8" in seen.said[LOCALE].ok().splitlines()


def test_the_journal_is_bounded(seen: Seen) -> None:
    """The journal is kept on disk and has a largest size."""
    told = seen.said[READ[JOURNAL]].ok().splitlines()
    assert "Storage=persistent" in told
    assert any(line.startswith("SystemMaxUse=") for line in told)


def test_a_boot_without_a_network_does_not_wait_long(seen: Seen) -> None:
    """The wait for a network is bounded, and its failure is none of the boot."""
    assert "\nExecStart=-" in seen.said[READ[WAIT]].ok()
