"""The configuration of an appliance, and what came of it."""

import json

import pytest
from testinfra.host import Host

from harness.look import Seen, look

pytestmark = pytest.mark.appliance

OWNERS = {
    "keyd.toml": "skerry-keys",
    "certd.toml": "skerry-certs",
    "identityd.toml": "skerry-identity",
    "edged.toml": "skerry-edge",
    "config.toml": "root",
}
CURRENT = "/etc/skerry/current"
MANIFEST = f"cat {CURRENT}/manifest.json"
DIGESTS = f"cd {CURRENT} && sha256sum *"
EDGED = "systemctl is-active skerry-edged.service"
CHECK = "skerry config check /etc/skerry/config.toml --output json"


@pytest.fixture(scope="module")
def seen(host: Host) -> Seen:
    paths = [f"{CURRENT}/{name}" for name in OWNERS]
    return look(host, paths, [MANIFEST, DIGESTS, EDGED, CHECK])


def test_the_generation_in_force_is_whole(configured: Seen) -> None:
    """`current` leads to a generation whose files have the sha256 that its manifest names."""
    lines = configured.said[DIGESTS].ok().splitlines()
    digests = {line.split()[1]: line.split()[0] for line in lines}
    named = json.loads(configured.said[MANIFEST].ok())["files"]
    assert {name: digests.get(name) for name in named} == named


@pytest.mark.parametrize("name", OWNERS)
def test_settings_are_readable_by_their_service_only(configured: Seen, name: str) -> None:
    """Each file of the generation belongs to the user of its service, mode 0600."""
    file = configured.file(f"{CURRENT}/{name}")
    assert (file.user, file.mode) == (OWNERS[name], 0o600)


def test_the_edge_service_runs(configured: Seen) -> None:
    """edged is up: it needs the engine, and the device's identity to start the agent."""
    assert configured.said[EDGED].ok() == "active"


def test_the_installed_configuration_is_accepted(configured: Seen) -> None:
    """`skerry config check` finds no problem in the file as it is installed."""
    configured.said[CHECK].ok()
