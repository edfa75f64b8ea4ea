"""Stamping: the seed lands on its partition, and nothing wrong ever gets onto a device.

The image is a small one: a disk with the partitions of a real one and an empty seed file system.
"""

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.small_image import MIB, OFFSET, SIZE, files_of_fat, files_on, make_small_image, publish
from skerry_factory.errors import DefinitionError, FactoryError
from skerry_factory.gpt import read_table
from skerry_factory.stamp import Seed, remove_device, seed_files, stamp

CONFIG = '[provisioning]\nsource = "standalone"\n'


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_small_image(tmp_path)


@pytest.fixture
def seed(tmp_path: Path) -> Seed:
    config, key = tmp_path / "site.toml", tmp_path / "key.pub"
    config.write_text(CONFIG)
    key.write_text("ssh-ed25519 AAAA tech@site\n")
    return Seed("pump-7", config, [key])


@pytest.mark.parametrize("disk_format", ["qcow2", "raw"])
def test_the_seed_is_on_the_disk(image: Path, seed: Seed, tmp_path: Path, disk_format: str) -> None:
    """A stamped disk has exactly the files of the seed; its manifest names their digests."""
    device = stamp(image, seed, disk_format=disk_format)
    found = files_on(device.disk, tmp_path)
    manifest = json.loads(found["manifest.json"])
    assert found == seed_files(seed)
    assert (manifest["version"], manifest["device"]) == (1, "pump-7")
    assert manifest["files"] == {
        name: hashlib.sha256(data).hexdigest()
        for name, data in found.items()
        if name != "manifest.json"
    }
    assert device.disk.stat().st_mode & 0o777 == 0o600
    assert device.seed_digest == hashlib.sha256(found["manifest.json"]).hexdigest()


def test_a_seed_alone_is_for_a_stick(image: Path, seed: Seed) -> None:
    """A seed without a disk is a file system as large as the partition, with the same files."""
    stick = stamp(image, seed, disk_format="seed").disk
    assert stick.name == "pump-7.seed.img"
    assert stick.stat().st_size == SIZE
    assert files_of_fat(stick) == seed_files(seed)


def test_secrets_and_networks_are_carried(image: Path, seed: Seed, tmp_path: Path) -> None:
    """Files that the configuration names, and network files, get their folders."""
    seed.config.write_text(CONFIG + 'trust_bundle_cert = "file:///run/seed/secrets/ca.pem"\n')
    text = seed.config.read_text()
    seed.config.write_text(text[len(CONFIG) :] + CONFIG)
    (tmp_path / "ca").write_text("x")
    (tmp_path / "10-static.network").write_text("[Match]\n")
    networks = [tmp_path / "10-static.network"]
    full = replace(seed, secrets={"ca.pem": tmp_path / "ca"}, networks=networks)
    found = files_on(stamp(image, full).disk, tmp_path)
    assert found["secrets/ca.pem"] == b"x"
    assert found["network/10-static.network"] == b"[Match]\n"


def test_an_overlay_is_as_large_as_asked_for(image: Path, seed: Seed) -> None:
    """The disk of a device has room for data to grow, and costs next to nothing."""
    disk = stamp(image, seed, size_bytes=1 << 30).disk
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", disk]))
    assert info["virtual-size"] == 1 << 30
    assert disk.stat().st_blocks * 512 < 2 * MIB


def test_a_raw_copy_keeps_the_partition_table(image: Path, seed: Seed) -> None:
    """A disk to be flashed differs from the image in its seed only."""
    disk = stamp(image, seed, disk_format="raw").disk
    assert read_table(disk) == read_table(image / "box.raw")
    original, stamped = (image / "box.raw").read_bytes(), disk.read_bytes()
    assert original[:OFFSET] == stamped[:OFFSET]
    assert original[OFFSET + SIZE :] == stamped[OFFSET + SIZE :]


def test_a_later_build_does_not_change_a_device(image: Path, seed: Seed, tmp_path: Path) -> None:
    """Devices refer to the image that they were stamped from, not to its name."""
    device = stamp(image, seed)
    before = files_on(device.disk, tmp_path)
    new = image / "new.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", new, "80M"], check=True)
    new.replace(image / "box.qcow2")
    assert files_on(device.disk, tmp_path) == before


def test_bases_without_devices_are_removed(image: Path, seed: Seed) -> None:
    """Stamping anew on a new build leaves one base; removing the last device leaves nothing."""
    stamp(image, seed)
    with (image / "box.raw").open("r+b") as file:
        file.write(b"other")
    publish(image, image / "box.raw")
    stamp(image, seed)
    names = sorted(path.name[:6] for path in (image / "devices").iterdir())
    assert names == [".base-", "pump-7"]
    remove_device(image, "pump-7")
    assert not (image / "devices").exists()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"device": "Pump 7"}, "--name 'Pump 7' is not a device name"),
        ({"secrets": {"../x": Path("/dev/null")}}, "--secret '../x' is not a file name"),
        ({"authorized_keys": [Path("/nowhere/key.pub")]}, "/nowhere/key.pub: no such file"),
        ({"networks": [Path("/etc/hostname")]}, "its name must end in '.network'"),
    ],
    ids=["device name", "secret outside of its folder", "missing key", "no network file"],
)
def test_a_wrong_argument_stamps_nothing(
    image: Path, seed: Seed, changed: dict[str, Any], told: str
) -> None:
    """What is wrong on the command line is told, and no disk appears."""
    with pytest.raises(DefinitionError, match=r"nothing was stamped") as refused:
        stamp(image, replace(seed, **changed))
    assert told in str(refused.value)
    assert not (image / "devices").exists()


def test_a_wrong_configuration_stamps_nothing(image: Path, seed: Seed) -> None:
    """What `config check` refuses never gets onto a device; every problem is told."""
    seed.config.write_text('[provisoning]\nsource = "standalone"\n[modules.x]\n')
    with pytest.raises(DefinitionError) as refused:
        stamp(image, seed)
    assert f"{seed.config}:1:2: provisoning: unknown table" in str(refused.value)
    assert not (image / "devices").exists()


def test_a_secret_that_is_not_given_is_named(image: Path, seed: Seed) -> None:
    """A reference to a file of the seed needs that file."""
    line = 'trust_bundle_cert = "file:///run/seed/secrets/ca.pem"\n'
    seed.config.write_text(line + CONFIG)
    with pytest.raises(DefinitionError, match=r"add --secret ca\.pem=FILE"):
        stamp(image, seed)


def test_a_private_key_is_not_published(image: Path, seed: Seed, tmp_path: Path) -> None:
    """Giving the private key by mistake is refused."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with pytest.raises(DefinitionError, match=r"a private key; give the public one"):
        stamp(image, replace(seed, authorized_keys=[key]))


def test_a_large_file_is_refused(image: Path, seed: Seed, tmp_path: Path) -> None:
    """The device would refuse a seed with a file over 1 MiB, so the factory does."""
    (tmp_path / "big").write_bytes(bytes(MIB + 1))
    with pytest.raises(FactoryError, match="takes 1048576 each"):
        stamp(image, replace(seed, secrets={"big": tmp_path / "big"}))


def test_a_failed_stamp_leaves_the_former_device(image: Path, seed: Seed) -> None:
    """When the disk cannot be written the device that was there stays, and nothing else."""
    before = stamp(image, seed).disk.read_bytes()
    manifest = json.loads((image / "manifest.json").read_text())
    (image / "box.qcow2").unlink()
    manifest["outputs"] = [{**output, "sha256": "0" * 64} for output in manifest["outputs"]]
    (image / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(FactoryError, match=r"box\.qcow2.*is missing; build it again"):
        stamp(image, seed)
    names = sorted(path.name[:6] for path in (image / "devices").iterdir())
    assert names == [".base-", "pump-7"]
    assert (image / "devices/pump-7.qcow2").read_bytes() == before
