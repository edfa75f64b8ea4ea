"""Apply and seed on a Debian 13 device: real units, real services, real sockets."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from harness.nspawn import Device, running_device

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]

SITE = (
    'hostname = "{name}"\n[provisioning]\nsource = "standalone"\n[agent]\nname = "edgeAgent"\n'
    'type = "docker"\n[agent.config]\nimage = "localhost/skerry/agent:0"\n'
    'auth = {{ username = "u", password = "swordfish" }}\n'
)
SECURITY = ["keyd", "certd", "identityd", "tpmd"]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device with the package installed, and no configuration."""
    folder = tmp_path_factory.mktemp("device")
    build = [sys.executable, "-m", "skerry_factory.cli", "deb", "--out", str(folder)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (package,) = folder.glob("*.deb")
    with running_device(tmp_path_factory.mktemp("machine")) as found:
        _shell(found, "cat > /root/skerry.deb && dpkg -i /root/skerry.deb", package.read_bytes())
        yield found


def _shell(device: Device, script: str, data: bytes = b"", *, status: int = 0) -> str:
    done = subprocess.run(
        ["nsenter", "--target", str(device.leader), "--all", "--", "bash", "-c", script],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        input=data,
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == status, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def _apply(device: Device, text: str, *, status: int = 0) -> dict[str, Any]:
    command = "skerry config apply --config - --output json"
    answer: dict[str, Any] = json.loads(_shell(device, command, text.encode(), status=status))
    return answer


def test_a_device_is_configured_and_configured_again(device: Device) -> None:
    """Services take their settings within the apply; the same input changes nothing."""
    _shell(device, "rm -rf /etc/skerry/current /etc/skerry/generations/*")
    first = _apply(device, SITE.format(name="one"))
    assert (first["result"], first["restarted"]) == ("applied", [*SECURITY, "edged"])
    assert _apply(device, SITE.format(name="one"))["result"] == "unchanged"
    owners = _shell(device, "stat -L -c '%n %U:%G %a' /etc/skerry/current/*").splitlines()
    assert [line.removeprefix("/etc/skerry/current/") for line in owners] == [
        "certd.toml skerry-certs:skerry-certs 600",
        "config.toml root:root 600",
        "deployment.json root:skerry-edge 640",
        "edged.toml skerry-edge:skerry-edge 600",
        "identityd.toml skerry-identity:skerry-identity 600",
        "keyd.toml skerry-keys:skerry-keys 600",
        "manifest.json root:root 600",
        "secrets.json root:root 600",
        "tpmd.toml skerry-tpm:skerry-tpm 600",
    ]
    assert "swordfish" not in _shell(device, "cat /etc/skerry/config.toml")


def test_only_services_with_new_settings_are_restarted(device: Device) -> None:
    """A new name of the device is nothing to keyd."""
    _apply(device, SITE.format(name="one"))
    assert _apply(device, SITE.format(name="two"))["restarted"] == [
        "certd", "identityd", "edged",
    ]  # fmt: skip


def test_a_service_that_refuses_is_rolled_back(device: Device) -> None:
    """certd cannot use what somebody wrote by hand: the former configuration stays in force."""
    _apply(device, SITE.format(name="good"))
    state = (
        "readlink /etc/skerry/current; ls -A /etc/skerry/generations; cat /etc/skerry/config.toml"
    )
    before = _shell(device, state)
    _shell(device, "printf '[preloaded_certs]\\nx = 3\\n' > /etc/skerry/certd/config.toml")
    answer = _apply(device, SITE.format(name="bad"), status=1)
    assert answer["result"] == "rolled-back"
    # its socket may have started it once more before systemd is asked how it ended
    assert re.match(
        r"certd (refused its|did not start with its new) settings \(journalctl -u "
        r"skerry-certd.service\); generation \d+ is in force as before",
        answer["problems"][0]["message"],
    )
    assert _shell(device, state) == before
    _shell(device, "rm /etc/skerry/certd/config.toml")
    assert _apply(device, SITE.format(name="better"))["result"] == "applied"
    assert "skerry" not in _shell(device, "systemctl --failed --plain --no-legend")


def test_a_seed_is_applied_by_hand(device: Device) -> None:
    """The device takes the name, the keys and the configuration of the seed, once."""
    config = SITE.format(name="seeded")
    manifest = (
        'cd /root/seed; h() { printf \'"%s": "%s"\' "$1" "$(sha256sum "$1" | cut -c1-64)"; };'
        'printf \'{"version": 1, "device": "x", "files": {%s, %s}}\' '
        '"$(h config.toml)" "$(h authorized_keys)" > manifest.json'
    )
    _shell(device, "mkdir -p /root/seed; cat > /root/seed/config.toml", config.encode())
    _shell(device, f"echo 'ssh-ed25519 AAAA t' > /root/seed/authorized_keys; {manifest}")
    apply = "skerry seed apply --from /root/seed --output json"
    assert json.loads(_shell(device, apply))["result"] == "applied"
    assert json.loads(_shell(device, apply))["result"] == "unchanged"
    assert _shell(device, "cat /etc/skerry/hostname") == "seeded\n"
    assert "AAAA" in _shell(device, "cat /etc/skerry/ssh/authorized_keys")
    assert "swordfish" not in _shell(device, "cat /root/seed/config.toml")


def test_boot_puts_the_name_in_force(device: Device) -> None:
    """Before the services, at every boot, without a seed too."""
    _shell(device, "echo named-at-boot > /etc/skerry/hostname")
    assert "no disk with the label" in _shell(device, "skerry seed apply --boot")
    assert _shell(device, "hostname") == "named-at-boot\n"
