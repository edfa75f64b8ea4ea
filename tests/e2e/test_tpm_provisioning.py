"""The booted appliance proves itself with its TPM: seed, `skerry tpm show`, DPS, hub, restart."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.image import booted_device
from skerry_factory.appliance import BootedAppliance
from skerry_factory.demo import Patience
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.server import Lab, LabSettings

pytestmark = pytest.mark.vm

DEVICE = "press-41"
HOST = "10.0.2.2"
"""The host's loopback, as QEMU's user network shows it to the guest."""

PATIENCE = Patience(identity_seconds=600, workload_seconds=600)
CONFIG = """trust_bundle_cert = "file:///run/seed/secrets/lab-root.pem"

[provisioning]
source = "dps"
global_endpoint = "{endpoint}"
id_scope = "{scope}"

[provisioning.attestation]
method = "tpm"
registration_id = "{device}"
"""


@dataclass(frozen=True)
class Site:
    """A lab, and an appliance whose seed trusts it."""

    lab: Lab
    appliance: BootedAppliance

    def shown(self, what: str) -> dict[str, Any] | None:
        """Return what `skerry WHAT show` prints; None while it fails."""
        done = self.appliance.run(f"sudo skerry {what} show --output json")
        found: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tpm")
    with Lab(folder / "lab", LabSettings(names=(HOST,))) as lab:
        root, config = folder / "lab-root.pem", folder / "config.toml"
        root.write_text(lab.root_pem)
        config.write_text(
            CONFIG.format(endpoint=lab.endpoint, scope=lab.id_scope, device=DEVICE), "utf-8"
        )
        secrets = {root.name: root}
        with booted_device(DEVICE, config, folder, secrets) as appliance:
            yield Site(lab, appliance)


def test_the_tpm_provisions_through_dps(site: Site) -> None:
    """IT enrols what the device shows; the device is assigned, and still is after a restart."""
    keys = PATIENCE.wait_until(lambda: site.shown("tpm"), 300, "tpmd does not answer")
    assert site.shown("identity") is None
    site.lab.add_enrollment(
        Enrollment(DEVICE, Attestation.TPM, endorsement_key=keys["endorsement_key"])
    )
    seconds = PATIENCE.identity_seconds
    found = PATIENCE.wait_until(lambda: site.shown("identity"), seconds, "no identity")
    assert found["device"] == {
        "hub": site.lab.hub_name,
        "gateway": site.lab.hub_name,
        "device_id": DEVICE,
        "auth": "tpm",
    }
    known = {module.module_id for module in site.lab.registry.modules(DEVICE)}
    assert {"$edgeAgent", "$edgeHub"} <= known
    site.appliance.restart()
    again = PATIENCE.wait_until(lambda: site.shown("identity"), seconds, "no identity")
    assert again["device"] == found["device"]
    assert site.shown("tpm") == keys
    assert site.appliance.output_of("sudo ls -A /var/lib/skerry/tpmd") == ""


def test_people_without_root_do_not_reach_the_tpm(site: Site) -> None:
    """The socket is for the services' group, and the message says what to do."""
    refused = site.appliance.run("skerry tpm show")
    assert refused.returncode == 1
    assert "sudo" in refused.stderr
