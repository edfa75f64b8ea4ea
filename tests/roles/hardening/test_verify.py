"""The hardening: its files are there, in force, and nothing that the appliance needs is closed."""

import re

import pytest
from testinfra.host import Host

from harness.look import Seen, look

pytestmark = pytest.mark.appliance

KERNEL = "/etc/sysctl.d/60-skerry-hardening.conf"
MODULES = "/etc/modprobe.d/dev-sec.conf"
SSH = "/etc/ssh/sshd_config.d/20-skerry-hardening.conf"
KEYSIGN = "/usr/lib/openssh/ssh-keysign"
CONFIG = "/etc/ssh/sshd_config"
CRON = "/etc/cron.daily"
READ = {path: f"cat {path}" for path in (KERNEL, MODULES, SSH)}
FOREIGN_KERNEL = "systemd-detect-virt --container"
ASK_KERNEL = (
    f"sed -n 's/^\\([a-z][^ ]*\\) = .*/\\1/p' {KERNEL} | tr . / | "
    "while read -r key; do test ! -e /proc/sys/$key || echo $key = $(cat /proc/sys/$key); done"
)
SSHD = "/usr/sbin/sshd -T -C host=localhost,addr=127.0.0.1,user=root"
FORWARDING = "cat /proc/sys/net/ipv4/ip_forward"
OVERRIDES = "cat /var/lib/dpkg/statoverride"


@pytest.fixture(scope="module")
def seen(host: Host) -> Seen:
    paths = [KERNEL, MODULES, SSH, KEYSIGN, CONFIG, CRON]
    commands = [*READ.values(), FOREIGN_KERNEL, ASK_KERNEL, SSHD, FORWARDING, OVERRIDES]
    return look(host, paths, commands)


def settings(text: str) -> dict[str, str]:
    """Return the lines of a file that are no comments, split at the first blank or '='."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {
        key.lower(): value
        for key, value in (re.split(r" = | ", line, maxsplit=1) for line in lines)
    }


@pytest.mark.parametrize("path", [KERNEL, MODULES, SSH])
def test_the_settings_name_their_rules(seen: Seen, path: str) -> None:
    """Each file says which rules it follows, and at which level; only root changes it."""
    assert (seen.file(path).user, seen.file(path).mode) == ("root", 0o644)
    told = seen.said[READ[path]].ok()
    assert re.search(r"^# Rules of dev-sec's baselines, level (standard|strict)\.$", told, re.M)
    assert re.search(r"^# (os|sysctl|sshd)-\d\d", told, re.M)


def test_files_are_closed(seen: Seen) -> None:
    """The SSH server's settings are root's alone, and a helper that nobody needs has no rights."""
    assert seen.file(CONFIG).mode == 0o600
    assert seen.file(KEYSIGN).mode == 0o755
    assert seen.file(CRON).mode == 0o700
    assert f"root root 0755 {KEYSIGN}" in seen.said[OVERRIDES].ok().splitlines()


def test_the_kernel_has_the_settings(booted: Seen) -> None:
    """What is written is in force, where the kernel is the appliance's own."""
    wanted = settings(booted.said[READ[KERNEL]].ok())
    found = settings(booted.said[ASK_KERNEL].ok().replace("/", "."))
    if booted.said[FOREIGN_KERNEL].status != 0:
        assert found == {key: value for key, value in wanted.items() if key in found}
    assert found.keys() <= wanted.keys()
    assert len(found) > 10


def test_the_ssh_server_has_the_settings(booted: Seen) -> None:
    """sshd itself says what is written."""
    wanted = settings(booted.said[READ[SSH]].ok())
    found = settings(booted.said[SSHD].ok())
    seconds = {"60s": "60", "30s": "30"}
    told = {key: seconds.get(value, value) for key, value in wanted.items()}
    assert {key: found[key] for key in told} == told


def test_containers_are_still_reached(configured: Seen) -> None:
    """Packets are forwarded: the engine has turned that on, and nothing has turned it off."""
    assert configured.said[FORWARDING].ok() == "1"
