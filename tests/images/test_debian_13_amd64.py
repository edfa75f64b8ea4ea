"""The image boots by UEFI, is whole, and what belongs to the device outlives a restart.

In `make test` the appliance of tests/e2e goes the same way; these boots are of `make soak`.
"""

import subprocess
from collections.abc import Iterator

import pytest

from harness.image import booted_device, shared_image
from skerry_factory.appliance import BootedAppliance
from skerry_factory.gpt import read_table
from skerry_factory.paths import Checkout
from skerry_factory.progress import Progress
from skerry_factory.session import wait_until_ready

pytestmark = pytest.mark.vm
GIB = 1 << 30
CONFIG = Checkout.of_package().root / "examples" / "config.toml"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedAppliance]:
    with booted_device("test-image", CONFIG, tmp_path_factory.mktemp("device")) as appliance:
        with Progress.silent().step("ready") as step:
            wait_until_ready(appliance, (), step)
        yield appliance


@pytest.mark.soak
def test_nothing_has_failed(device: BootedAppliance) -> None:
    """Every unit of the booted appliance is well."""
    assert device.output_of("systemctl --failed --plain --no-legend") == ""


@pytest.mark.soak
def test_data_has_grown_to_the_end_of_the_disk(device: BootedAppliance) -> None:
    """The data partition takes what the disk has beyond the image, the others keep their size."""
    sizes = device.output_of("lsblk --bytes --noheadings --list --output LABEL,SIZE /dev/vda")
    by_label = dict(line.split() for line in sizes.splitlines() if len(line.split()) == 2)
    assert int(by_label["SKERRY-DATA"]) > 5 * GIB
    assert int(by_label["SKERRY-SEED"]) == 64 << 20
    free = int(device.output_of("df --output=avail --block-size=1 /data").split()[1])
    assert free > 5 * GIB


@pytest.mark.soak
def test_what_outlives_the_slot_is_on_data(device: BootedAppliance) -> None:
    """Configuration, state, containers and host keys lie on the data partition."""
    folders = "/etc/skerry /var/lib/skerry /var/lib/docker /var/lib/containerd /data/ssh"
    sources = device.output_of(f"stat --format %d {folders} /data").split()
    assert len(set(sources)) == 1
    assert sources[0] != device.output_of("stat --format %d /").strip()


@pytest.mark.soak
def test_a_tpm_is_seen(device: BootedAppliance) -> None:
    """The kernel of the image has the drivers of a TPM 2.0."""
    assert device.output_of("ls /dev/tpmrm0").strip() == "/dev/tpmrm0"


@pytest.mark.soak
def test_the_seed_names_the_device(device: BootedAppliance) -> None:
    """The host name is the one of the configuration, for which it asks."""
    assert device.output_of("hostname").strip() == "pump-station-7"


@pytest.mark.soak
def test_identity_outlives_a_restart(device: BootedAppliance) -> None:
    """Machine-id and host keys are made at the first boot and stay."""
    identity = "cat /etc/machine-id /data/ssh/*.pub"
    before, boot = (
        device.output_of(identity),
        device.output_of("cat /proc/sys/kernel/random/boot_id"),
    )
    assert len(before.splitlines()[0]) == 32
    assert device.output_of("cat /etc/machine-id") == device.output_of("sudo cat /data/machine-id")
    device.restart()
    assert device.output_of("cat /proc/sys/kernel/random/boot_id") != boot
    assert device.output_of(identity) == before


def test_the_manifest_describes_the_disk() -> None:
    """Partitions, sizes and digests of manifest.json are those of the files."""
    image = shared_image()
    manifest = image.read_manifest()
    _, partitions = read_table(image.raw)
    assert [(p["name"], p["offset_bytes"], p["uuid"]) for p in manifest["partitions"]] == [
        (p.name, p.offset_bytes, str(p.uuid)) for p in partitions
    ]
    for output in manifest["outputs"]:
        file = image.manifest.parent / output["file"]
        digest = subprocess.check_output(["openssl", "dgst", "-sha256", "-r", file], text=True)
        assert digest.split()[0] == output["sha256"]
    assert {"ref", "id"} == set(manifest["containers"][0])
    assert {"systemd", "docker.io", "skerry"} <= {
        package["name"] for package in manifest["packages"]
    }
