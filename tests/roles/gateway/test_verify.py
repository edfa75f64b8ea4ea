"""The gateway: what is open, under which name, and what leaf devices have to trust."""

import json

import pytest
from testinfra.host import Host

from harness.look import Seen, look

pytestmark = pytest.mark.appliance

RULES = "/etc/nftables.conf"
ENABLED = "/etc/systemd/system/sysinit.target.wants/nftables.service"
STOP = "cat /etc/systemd/system/nftables.service.d/10-skerry.conf"
READ = f"cat {RULES}"
IN_FORCE = "nft list chain inet skerry_gateway input"
OUTSIDE = "nft list chain inet skerry_gateway forward"
ENGINE = "iptables --table nat --list-rules DOCKER"
ACTIVE = "systemctl is-active nftables.service"
HOSTNAME = "sed -n 's/^hostname = \"\\(.*\\)\"$/\\1/p' /etc/skerry/edged/config.d/00-super.toml"
ENVIRONMENT = "docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' edgeAgent"
NAMES = f"{ENVIRONMENT} | sed -n s/^EdgeDeviceHostName=//p"
TRUST = "skerry certificates trust --output json"
MODULES = "docker ps --format '{{.Names}}'"
SHAKE_HANDS = """
import json, socket, ssl, sys
roots = "".join(one["pem"] for one in json.load(sys.stdin)["certificates"])
context = ssl.create_default_context(cadata=roots)
with socket.create_connection(("127.0.0.1", 8883), 10) as plain:
    context.wrap_socket(plain, server_hostname=sys.argv[1]).close()
"""
HUB = f"{TRUST} | python3 -I -c '{SHAKE_HANDS}' \"$({NAMES})\""


@pytest.fixture(scope="module")
def seen(host: Host) -> Seen:
    commands = [STOP, READ, IN_FORCE, OUTSIDE, ENGINE, ACTIVE, HOSTNAME, NAMES, TRUST, MODULES, HUB]
    return look(host, [RULES, ENABLED], commands)


def test_the_firewall_starts_at_boot(seen: Seen) -> None:
    """nftables.service is enabled, and its rules are root's to change."""
    assert seen.file(ENABLED).link is not None
    rules = seen.file(RULES)
    assert (rules.user, rules.mode & 0o022) == ("root", 0)


def test_a_stop_of_the_firewall_leaves_the_engine_alone(seen: Seen) -> None:
    """Neither its rules nor its service flush those of others."""
    stop = seen.said[STOP].ok().splitlines()
    assert stop[-2:] == ["ExecStop=", "ExecStop=/usr/sbin/nft delete table inet skerry_gateway"]
    assert "flush" not in seen.said[READ].ok()


def test_the_firewall_drops_what_nobody_asked_for(booted: Seen) -> None:
    """Its rules are in force, and what they do not name is dropped."""
    assert booted.said[ACTIVE].ok() == "active"
    assert "hook input priority filter; policy drop;" in booted.said[IN_FORCE].ok()


def test_the_device_can_be_logged_in_to(booted: Seen) -> None:
    """Port 22 is open, or somebody chose another."""
    assert "tcp dport" in booted.said[IN_FORCE].ok()


def test_leaf_devices_come_by_one_chain(booted: Seen) -> None:
    """The engine's published ports of the hub are judged as those of the device are."""
    for command in (IN_FORCE, OUTSIDE):
        assert "goto leaf_devices" in booted.said[command].ok()


def test_the_engine_has_its_rules(configured: Seen) -> None:
    """They outlived the start of the firewall."""
    assert "-N DOCKER" in configured.said[ENGINE].ok()


def test_modules_know_the_device_by_its_name(configured: Seen) -> None:
    """EdgeDeviceHostName is the `hostname` of config.toml, the name in the hub's certificate."""
    assert configured.said[NAMES].ok() == configured.said[HOSTNAME].ok()


def test_leaf_devices_have_something_to_trust(configured: Seen) -> None:
    """A technician gets certificates, and none of them is a private matter."""
    trusted = json.loads(configured.said[TRUST].ok())["certificates"]
    assert trusted != []
    assert all("PRIVATE" not in one["pem"] for one in trusted)


def test_the_hub_proves_its_name(configured: Seen) -> None:
    """Where there is a hub, its certificate holds for the device's name under what is trusted."""
    if "edgeHub" not in configured.said[MODULES].ok().splitlines():
        pytest.skip("the deployment has no hub")
    configured.said[HUB].ok()
