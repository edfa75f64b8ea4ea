"""The configuration of an appliance, and what came of it."""

import json

import pytest
from testinfra.host import Host

pytestmark = pytest.mark.appliance

OWNERS = {
    "keyd.toml": "skerry-keys",
    "certd.toml": "skerry-certs",
    "identityd.toml": "skerry-identity",
    "edged.toml": "skerry-edge",
    "config.toml": "root",
}


def test_the_generation_in_force_is_whole(configured: Host) -> None:
    """`current` leads to a generation whose files have the sha256 that its manifest names."""
    manifest = json.loads(configured.check_output("cat /etc/skerry/current/manifest.json"))
    for name, digest in manifest["files"].items():
        assert configured.file(f"/etc/skerry/current/{name}").sha256sum == digest


@pytest.mark.parametrize("name", OWNERS)
def test_settings_are_readable_by_their_service_only(configured: Host, name: str) -> None:
    """Each file of the generation belongs to the user of its service, mode 0600."""
    file = configured.file(f"/etc/skerry/current/{name}")
    assert (file.user, file.mode) == (OWNERS[name], 0o600)


def test_the_edge_service_runs(configured: Host) -> None:
    """edged is up: it needs the engine, and the device's identity to start the agent."""
    assert configured.check_output("systemctl is-active skerry-edged.service") == "active"


def test_the_installed_configuration_is_accepted(configured: Host) -> None:
    """`skerry config check` finds no problem in the file as it is installed."""
    answer = configured.run("skerry config check /etc/skerry/config.toml --output json")
    assert answer.rc == 0, answer.stdout
