"""The operating system of an appliance: users, SSH, network, time, journal."""

import pytest
from testinfra.host import Host

pytestmark = pytest.mark.appliance


def sshd_settings(host: Host, user: str) -> list[str]:
    answer = host.run(f"/usr/sbin/sshd -T -C user={user},host=localhost,addr=127.0.0.1")
    assert answer.rc == 0, answer.stderr
    return str(answer.stdout).splitlines()


def test_no_unit_has_failed(booted: Host) -> None:
    """`systemctl --failed` is empty."""
    assert booted.check_output("systemctl --failed --no-legend --plain") == ""


@pytest.mark.parametrize(
    "setting",
    ["passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no"],
)
def test_ssh_takes_keys_of_people_only(booted: Host, setting: str) -> None:
    """Nobody logs in over SSH with a password or as root."""
    assert setting in sshd_settings(booted, "root")


def test_administrators_log_in_with_the_keys_of_the_seed(booted: Host) -> None:
    """sshd reads the seed's keys for administrators, and for them only."""
    members = booted.check_output("getent group sudo").rpartition(":")[2].split(",")
    assert members != [""]
    own = ".ssh/authorized_keys /etc/ssh/authorized_keys.d/%u"
    for_admin = f"authorizedkeysfile {own} /etc/skerry/ssh/authorized_keys"
    assert for_admin in sshd_settings(booted, members[0])
    assert f"authorizedkeysfile {own}" in sshd_settings(booted, "skerry-edge")


def test_sudo_accepts_its_files(host: Host) -> None:
    """Administrators have sudo without a password, in a file that sudo's own checker accepts."""
    assert host.file("/etc/sudoers.d/10-skerry").mode == 0o440
    assert host.run("/usr/sbin/visudo -cq").rc == 0


def test_every_account_is_without_a_password(host: Host) -> None:
    """No account can be logged in to with a password."""
    shadow = host.check_output("cat /etc/shadow").splitlines()
    assert [line for line in shadow if not line.split(":")[1].startswith(("!", "*"))] == []


def test_the_network_service_is_enabled(host: Host) -> None:
    """systemd-networkd starts at boot and has a default for every Ethernet interface."""
    wants = "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    assert host.file(wants).is_symlink
    assert host.file("/etc/systemd/network/90-skerry-dhcp.network").contains("DHCP=yes")


def test_names_are_resolved_by_the_local_resolver(host: Host) -> None:
    """/etc/resolv.conf is the stub of systemd-resolved, not a file of the build machine."""
    target = host.check_output("readlink /etc/resolv.conf")
    assert target.endswith("/run/systemd/resolve/stub-resolv.conf")


def test_the_clock_is_kept(host: Host) -> None:
    """A time service starts at boot."""
    assert host.file("/etc/systemd/system/multi-user.target.wants/chrony.service").is_symlink


def test_the_time_zone_exists(host: Host) -> None:
    """/etc/localtime leads to a file of the time zone database."""
    assert host.file("/etc/localtime").linked_to.startswith("/usr/share/zoneinfo/")


def test_the_journal_is_bounded(host: Host) -> None:
    """The journal is kept on disk and has a largest size."""
    told = host.check_output("cat /etc/systemd/journald.conf.d/10-skerry.conf").splitlines()
    assert "Storage=persistent" in told
    assert any(line.startswith("SystemMaxUse=") for line in told)


def test_a_boot_without_a_network_does_not_wait_long(host: Host) -> None:
    """The wait for a network is bounded and its failure is none of the boot."""
    drop_in = "/etc/systemd/system/systemd-networkd-wait-online.service.d/10-skerry.conf"
    assert "ExecStart=-" in host.check_output(f"cat {drop_in}")
