"""A seed is applied once, whole, and its secrets leave it."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.devices import FailingDisk, PowerCut, RunningServices, make_device
from harness.pairs import pair
from harness.seeds import write_seed
from skerry.config.apply import Device
from skerry.config.seed import SeedError
from skerry.config.seeding import apply_seed, explain, must_wipe, wipe

CONFIG = (
    b'[provisioning]\nsource = "standalone"\n\n[edge_ca]\n'
    b'cert = "file:///run/seed/secrets/edge.pem"\npk = "file:///run/seed/secrets/edge.key"\n'
    b'[agent]\nname = "edgeAgent"\ntype = "docker"\n'
    b'config = { image = "r.example/a", auth = { username = "u", password = "swordfish" } }\n'
)
CERT, KEY = pair("edge")
FILES = {
    "config.toml": CONFIG,
    "authorized_keys": b"ssh-ed25519 AAAA tech@site\n",
    "network/10-lan.network": b"[Match]\nName=en*\n",
    "secrets/edge.key": KEY,
    "secrets/edge.pem": CERT,
}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return make_device(tmp_path)


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    return write_seed(tmp_path / "run/seed", FILES)


def test_a_seed_makes_the_device_itself(device: Device, seed: Path) -> None:
    """Configuration, keys, network and name are in place; the device is named by its seed."""
    seeded = apply_seed(seed, device)
    etc = device.paths.etc
    assert (seeded.outcome.result, seeded.reason) == ("applied", "")
    assert (etc / "ssh/authorized_keys").read_bytes() == FILES["authorized_keys"]
    assert (etc / "network/10-lan.network").read_bytes() == FILES["network/10-lan.network"]
    assert (etc / "hostname").read_text() == "pump-7\n"
    assert 'hostname = "pump-7"' in (device.paths.current / "identityd.toml").read_text()
    assert not (etc / ".seed").exists()


def test_the_name_in_the_configuration_wins(device: Device, tmp_path: Path) -> None:
    """hostname in config.toml is the name of the machine."""
    text = b'hostname = "named"\n[provisioning]\nsource = "standalone"\n'
    apply_seed(write_seed(tmp_path / "run/seed", {"config.toml": text}), device)
    assert (device.paths.etc / "hostname").read_text() == "named\n"


def test_a_seed_is_applied_once(device: Device, seed: Path) -> None:
    """The same seed again changes nothing, even when the device was changed since."""
    apply_seed(seed, device)
    (device.paths.etc / "hostname").write_text("by hand\n")
    seeded = apply_seed(seed, device)
    assert (seeded.outcome.result, seeded.outcome.generation) == ("unchanged", 1)
    assert (device.paths.etc / "hostname").read_text() == "by hand\n"


def test_what_a_seed_does_not_have_stays(device: Device, seed: Path, tmp_path: Path) -> None:
    """A second seed replaces the network whole, and leaves the keys that it does not bring."""
    apply_seed(seed, device)
    files = {"config.toml": b'[provisioning]\nsource = "standalone"\n', "network/20-x.network": b""}
    apply_seed(write_seed(tmp_path / "second", files), device)
    etc = device.paths.etc
    assert [path.name for path in (etc / "network").iterdir()] == ["20-x.network"]
    assert (etc / "ssh/authorized_keys").read_bytes() == FILES["authorized_keys"]
    assert len(json.loads((device.paths.private / "seeds.json").read_text())["applied"]) == 2


def test_secrets_leave_the_seed_and_its_digest_stays(device: Device, seed: Path) -> None:
    """Files in secrets/ are empty, config.toml is the installed copy, and all is still applied."""
    explain(seed, "before")
    assert not must_wipe(seed, device)
    apply_seed(seed, device)
    assert must_wipe(seed, device)
    wipe(seed, device)
    assert not must_wipe(seed, device)
    assert [path.read_bytes() for path in (seed / "secrets").iterdir()] == [b"", b""]
    assert (seed / "config.toml").read_bytes() == device.paths.installed.read_bytes()
    assert b"swordfish" not in (seed / "config.toml").read_bytes()
    assert not (seed / "error.txt").exists()
    assert apply_seed(seed, device).outcome.result == "unchanged"


def test_a_dry_run_leaves_no_trace(device: Device, seed: Path, tmp_path: Path) -> None:
    """It says what would change."""
    before = sorted(tmp_path.rglob("*"))
    assert apply_seed(seed, device, dry_run=True).outcome.result == "would-change"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_configuration_that_is_refused_applies_nothing(device: Device, tmp_path: Path) -> None:
    """Neither keys nor network nor name come from a seed whose configuration is wrong."""
    seed = write_seed(tmp_path / "run/seed", {**FILES, "config.toml": b"x = 1\n"})
    seeded = apply_seed(seed, device)
    assert seeded.outcome.result == "refused"
    assert seeded.reason.splitlines() == [
        "config.toml:1:1: provisioning: missing; expected a table",
        "config.toml:1:1: x: unknown key",
    ]
    assert {path.name for path in device.paths.etc.iterdir()} == {
        "keyd", "certd", "identityd", "tpmd", "edged",
    }  # fmt: skip
    assert not must_wipe(seed, device)


def test_a_service_that_refuses_keeps_the_seed_out(device: Device, seed: Path) -> None:
    """A rolled-back configuration takes the rest of the seed with it."""
    assert isinstance(device.services, RunningServices)
    device.services.refusing.add("edged")
    seeded = apply_seed(seed, device)
    assert seeded.outcome.result == "rolled-back"
    assert "edged refused its settings" in seeded.reason
    assert not (device.paths.etc / "hostname").exists()


def test_a_full_disk_is_the_reason(device: Device, seed: Path) -> None:
    """Staging finds no space before anything has changed."""
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(SeedError, match=r"the seed cannot be applied: .*No space left on device"):
        apply_seed(seed, replace(device, disk=FailingDisk(1, full)))
    assert not device.paths.generations.exists()
    assert not (device.paths.etc / ".seed").exists()


def test_a_power_cut_while_seeding_ends_with_the_seed_applied(tmp_path: Path) -> None:
    """Cut before any change to the disk, the next boot applies the seed to its end."""
    count = FailingDisk()
    write_seed(tmp_path / "count/run/seed", FILES)
    apply_seed(tmp_path / "count/run/seed", make_device(tmp_path / "count", count))
    for number in range(len(count.changes)):
        folder = tmp_path / str(number)
        seed = write_seed(folder / "run/seed", FILES)
        with pytest.raises(PowerCut):
            apply_seed(seed, make_device(folder, FailingDisk(number)))
        device = make_device(folder)
        assert apply_seed(seed, device).outcome.ok
        assert (device.paths.etc / "hostname").read_text() == "pump-7\n"
        assert (device.paths.etc / "network/10-lan.network").is_file()
        wipe(seed, device)
        assert b"swordfish" not in (seed / "config.toml").read_bytes()


def test_the_reason_is_written_once(tmp_path: Path) -> None:
    """error.txt is not written again with the same content, and a read-only seed is no error."""
    explain(tmp_path, "because")
    (tmp_path / "error.txt").chmod(0o400)
    explain(tmp_path, "because")
    assert (tmp_path / "error.txt").read_text() == "because\n"
    explain(tmp_path / "absent", "because")
