"""The booted appliance proves itself with its TPM, and runs what the cloud deploys to it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.image import booted_device
from skerry.wire.identity import Identity
from skerry_factory.appliance import BootedAppliance
from skerry_factory.containers import image_ref
from skerry_factory.demo import Patience
from skerry_factory.errors import MachineError
from skerry_lab.cli import main as skerry_lab
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

[agent]
name = "edgeAgent"
type = "docker"
config = {{ image = "{agent}" }}
env = {{ UpstreamPort = "{port}" }}

[secrets.site-key]
value = "{planted}"
sealed_by = "tpm"
"""
PLANTED = "nobody reads this without this TPM"
TRIAL_SECONDS = 20
MODULES = ("sensor-a", "sensor-b")
CRASHES = json.dumps({"Entrypoint": ["python3", "-c", "raise SystemExit('broken')"]})


@dataclass(frozen=True)
class Site:
    """A lab, and an appliance whose seed trusts it."""

    lab: Lab
    folder: Path
    appliance: BootedAppliance

    def shown(self, what: str) -> dict[str, Any] | None:
        """Return what `skerry WHAT show` prints; None while it fails."""
        done = self.appliance.run(f"sudo skerry {what} show --output json")
        found: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
        return found


@dataclass(frozen=True)
class Provisioned:
    """What `skerry tpm show` and `skerry identity show` printed."""

    keys: dict[str, Any]
    identity: dict[str, Any]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tpm")
    with Lab(folder / "lab", LabSettings(names=(HOST,))) as lab:
        root, config = folder / "lab-root.pem", folder / "config.toml"
        root.write_text(lab.root_pem)
        text = CONFIG.format(
            endpoint=lab.endpoint,
            scope=lab.id_scope,
            device=DEVICE,
            agent=image_ref("agent"),
            port=lab.mqtt_port,
            planted=PLANTED,
        )
        config.write_text(text, "utf-8")
        secrets = {root.name: root}
        with booted_device(DEVICE, config, folder, secrets) as appliance:
            yield Site(lab, folder / "lab", appliance)


@pytest.fixture(scope="module")
def provisioned(site: Site) -> Provisioned:
    """What device and identity show, once IT has enrolled the TPM."""
    keys = PATIENCE.wait_until(lambda: site.shown("tpm"), 300, "tpmd does not answer")
    assert site.shown("identity") is None
    site.lab.add_enrollment(
        Enrollment(DEVICE, Attestation.TPM, endorsement_key=keys["endorsement_key"])
    )
    seconds = PATIENCE.identity_seconds
    identity = PATIENCE.wait_until(lambda: site.shown("identity"), seconds, "no identity")
    return Provisioned(keys, identity)


def deployment(create_options: str = "{}") -> dict[str, object]:
    """Return the content of a deployment of two sensors; the second one as asked."""
    modules = {
        name: {
            "type": "docker",
            "status": "running",
            "restartPolicy": "always",
            "settings": {"image": image_ref("sample-sensor"), "createOptions": options},
        }
        for name, options in zip(MODULES, ("{}", create_options), strict=True)
    }
    agent = {"type": "docker", "settings": {"image": image_ref("agent"), "createOptions": "{}"}}
    desired = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": {"edgeAgent": agent},
        "modules": modules,
        "trialSeconds": TRIAL_SECONDS,
    }
    return {"modulesContent": {"$edgeAgent": {"properties.desired": desired}}}


def test_the_tpm_provisions_through_dps(site: Site, provisioned: Provisioned) -> None:
    """The device is assigned once IT has enrolled what it shows, and still is after a restart."""
    keys, found = provisioned.keys, provisioned.identity
    seconds = PATIENCE.identity_seconds
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


def test_a_secret_of_the_seed_is_sealed_by_the_tpm(site: Site) -> None:
    """edged may ask the TPM for it; the disk does not have it in the clear any more."""
    form = "sudo sh -c 'head -n 1 /var/lib/skerry/edged/imported/site-key-*'"

    def is_sealed() -> bool | None:
        found = site.appliance.run(form).stdout
        return found.startswith("SKERRY-SECRET 1 tpm tpm -") or None

    PATIENCE.wait_until(is_sealed, 300, "the secret is not sealed")
    (secret,) = json.loads(site.appliance.output_of("sudo skerry secret list --output json"))[
        "secrets"
    ]
    assert (secret["name"], secret["origin"], secret["problem"]) == ("site-key", "config", None)
    # not in logs: sudo has written this very command there
    found = site.appliance.run(f"sudo grep -rlF '{PLANTED}' /etc/skerry /var/lib/skerry")
    assert found.stdout == ""


def test_people_without_root_do_not_reach_the_tpm(site: Site) -> None:
    """The socket is for the services' group, and the message says what to do."""
    refused = site.appliance.run("skerry tpm show")
    assert refused.returncode == 1
    assert "sudo" in refused.stderr


def test_a_broken_deployment_of_the_cloud_rolls_back(
    site: Site, provisioned: Provisioned, tmp_path: Path
) -> None:
    """Two modules run as the cloud says; an update that crashes brings the former set back."""

    def push(content: dict[str, object]) -> None:
        file = tmp_path / "deployment.json"
        file.write_text(json.dumps(content), "utf-8")
        folder = str(site.folder)
        assert skerry_lab(["deploy", "set", "-d", DEVICE, "-k", str(file), "--data", folder]) == 0

    def history() -> list[dict[str, Any]]:
        printed = site.appliance.output_of("sudo skerry deployment history --output json")
        found: list[dict[str, Any]] = json.loads(printed)["history"]
        return found

    def ended(outcome: str, known: int) -> dict[str, Any] | None:
        """Return what ended so after `known` others; None until then, or while nobody answers."""
        try:
            new = history()[known:]
        except MachineError:
            return None
        return next((one for one in new if one["outcome"] == outcome), None)

    def running() -> dict[str, str]:
        asked = "sudo docker ps --no-trunc --format '{{.Names}} {{.Command}}'"
        lines = site.appliance.output_of(asked).splitlines()
        return dict(line.split(" ", 1) for line in lines if line.startswith(MODULES))

    seconds = PATIENCE.workload_seconds
    push(deployment())
    PATIENCE.wait_until(lambda: ended("committed", 0), seconds, "it is not committed")
    PATIENCE.wait_until(lambda: set(running()) == set(MODULES), seconds, "they do not run")
    before, known = running(), len(history())
    push(deployment(CRASHES))
    failed = PATIENCE.wait_until(lambda: ended("rolled-back", known), seconds, "no roll-back")
    PATIENCE.wait_until(lambda: running() == before, seconds, "the former set does not run")
    assert MODULES[1] in failed["reason"]

    def reported() -> set[str]:
        own = Identity(DEVICE, "$edgeAgent")
        twin = site.lab.store.do(lambda cloud: cloud.twins.get(own))
        modules: Any = twin.reported.properties["modules"]
        return {modules[name]["runtimeStatus"] for name in MODULES}

    PATIENCE.wait_until(lambda: reported() == {"running"}, seconds, "the cloud is not told")
