"""A fleet of a thousand, three of its disks booted: each is itself for the lab cloud. And a fleet
with TPMs, whose keys are collected from a device that runs, and from its seed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.authority import write_authority
from harness.image import IMAGE, shared_image
from harness.small_image import files_on
from skerry_factory.appliance import BootedAppliance, booted
from skerry_factory.boot import Machine
from skerry_factory.cli import run as skerry_factory
from skerry_factory.command import run_command
from skerry_factory.command_line import default_cache
from skerry_factory.containers import image_ref
from skerry_factory.demo import Patience
from skerry_factory.errors import MachineError
from skerry_factory.fleet.keys import read_keys
from skerry_factory.fleet.ledger import read_ledger
from skerry_factory.qemu import kvm_is_usable
from skerry_lab.cli import main as skerry_lab
from skerry_lab.server import Lab, LabSettings

pytestmark = [pytest.mark.vm, pytest.mark.soak]

HOST = "10.0.2.2"
"""The host's loopback, as QEMU's user network shows it to the guest."""

PATIENCE = Patience(identity_seconds=600, workload_seconds=600)
CONFIG = """trust_bundle_cert = "file:///run/seed/secrets/lab-root.pem"

[agent]
name = "edgeAgent"
type = "docker"
config = {{ image = "{agent}" }}
"""
FLEET = """[fleet]
name = "plant"
image = "{image}"
config = "common.toml"
authorized_keys = ["key.pub"]
secrets = {{ "lab-root.pem" = "lab-root.pem" }}

[identity]
source = "dps"
global_endpoint = "{endpoint}"
id_scope = "{scope}"
attestation = {attestation}

[devices]
pattern = "{pattern}"
count = {count}
"""
X509 = '{ method = "x509", ca_certificate = "ca.pem", ca_key = "ca.key" }'
TPM = '{ method = "tpm" }'
BOOTED = ("press-0001", "press-0500", "press-1000")


@dataclass(frozen=True)
class Plant:
    """A lab, the image, and what fleets need, in one folder."""

    lab: Lab
    folder: Path
    image: Path

    @property
    def key(self) -> Path:
        return self.folder / "key"

    def stamp(self, file: Path, out: Path) -> None:
        """Stamp a fleet, and let the lab know it."""
        arguments = ["--fleet", str(file), "--image", str(self.image), "--out", str(out)]
        assert skerry_factory(["stamp", *arguments]) == 0
        known, data = str(out / "enrollments-lab.json"), str(self.folder / "lab")
        assert skerry_lab(["import", "-f", known, "--data", data]) == 0

    def fleet(self, attestation: str, pattern: str, count: int) -> Path:
        text = FLEET.format(
            image=IMAGE,
            endpoint=self.lab.endpoint,
            scope=self.lab.id_scope,
            attestation=attestation,
            pattern=pattern,
            count=count,
        )
        file = self.folder / f"fleet-{count}.toml"
        file.write_text(text)
        return file


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("plant")
    run_command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")])
    write_authority(folder)
    with Lab(folder / "lab", LabSettings(names=(HOST,))) as lab:
        (folder / "lab-root.pem").write_text(lab.root_pem)
        (folder / "common.toml").write_text(CONFIG.format(agent=image_ref("agent")))
        yield Plant(lab, folder, shared_image().manifest.parent)


@pytest.fixture(scope="module")
def thousand(plant: Plant) -> Path:
    """The folder of a thousand devices with certificates."""
    out = plant.folder / "thousand"
    plant.stamp(plant.fleet(X509, "press-{n:04}", 1000), out)
    return out


def shown(appliance: BootedAppliance) -> dict[str, Any] | None:
    """Return what `skerry identity show` prints; None while it fails, or the machine is busy."""
    try:
        done = appliance.run("sudo skerry identity show --output json")
    except MachineError:
        return None
    found: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
    return found


def identity_of(appliance: BootedAppliance) -> dict[str, Any]:
    seconds = PATIENCE.identity_seconds
    found: dict[str, Any] = PATIENCE.wait_until(lambda: shown(appliance), seconds, "no identity")
    return found


@pytest.mark.parametrize("device", BOOTED)
def test_a_stamped_disk_is_its_device(
    plant: Plant, thousand: Path, device: str, tmp_path: Path
) -> None:
    """The disk boots under its name and is assigned to the hub by its own certificate."""
    disk = thousand / "devices" / f"{device}.qcow2"
    machine = Machine(disk, kvm=kvm_is_usable(default_cache()), in_place=True)
    with booted(machine, device, plant.key, tmp_path) as appliance:
        found = identity_of(appliance)
        assert appliance.output_of("hostname").strip() == device
    assert found["device"]["device_id"] == device
    assert found["device"]["auth"] == "x509"
    assert plant.lab.registry.device(device).device_id == device
    assert read_ledger(thousand)[device].certificate is not None


def test_a_key_that_was_collected_enrols_the_device(plant: Plant, tmp_path: Path) -> None:
    """A device with a TPM is pending until asked over SSH; it leaves its key on its seed too."""
    out, file = plant.folder / "with-tpm", plant.fleet(TPM, "saw-{n}", 2)
    plant.stamp(file, out)
    disk = out / "devices" / "saw-1.qcow2"
    machine = Machine(disk, kvm=kvm_is_usable(default_cache()), in_place=True)
    with booted(machine, "saw-1", plant.key, tmp_path) as appliance:
        place = f"saw-1={appliance.target.host}:{appliance.target.port}"
        known = str(appliance.target.known_hosts)
        arguments = ["--host", place, "--identity-file", str(plant.key), "--host-key", known]
        assert skerry_factory(["collect", str(file), *arguments]) == 0
        plant.stamp(file, out)
        assert identity_of(appliance)["device"]["auth"] == "tpm"
        assert [d["deviceId"] for d in pending(out)] == ["saw-2"]
        unit = "systemctl is-active skerry-report.service"
        assert appliance.output_of(unit).strip() == "active"
        appliance.output_of("sync")
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "device.json").write_bytes(files_on(disk, tmp_path, seed_offset(plant))["device.json"])
    keys = read_keys(plant.folder / "endorsement-keys.csv")
    (plant.folder / "endorsement-keys.csv").unlink()
    assert skerry_factory(["collect", str(file), "--stick", str(seed)]) == 0
    assert read_keys(plant.folder / "endorsement-keys.csv") == keys


def pending(out: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((out / "enrollments-dps.json").read_text())["pending"]
    return found


def seed_offset(plant: Plant) -> int:
    parts = json.loads((plant.image / "manifest.json").read_text())["partitions"]
    return int(next(part["offset_bytes"] for part in parts if part["name"] == "seed"))
