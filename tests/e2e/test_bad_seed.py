"""A bad seed on a real boot: refused whole, with the reason on the console and on the seed."""

import subprocess
from pathlib import Path

import pytest

from harness.image import shared_image
from skerry_factory.boot import Machine
from skerry_factory.command_line import default_cache
from skerry_factory.demo_parts import make_key
from skerry_factory.qemu import kvm_is_usable
from skerry_factory.stamp import Seed, remove_device, stamp

pytestmark = pytest.mark.vm

CONFIG = Path(__file__).resolve().parents[2] / "examples" / "config.toml"
DEVICE = "bad-seed"
BOOT_SECONDS = 900.0


def on_seed(command: str, disk: Path, *arguments: str) -> str:
    """Run one of the mtools on the seed partition of a raw disk."""
    partitions = shared_image().read_manifest()["partitions"]
    offset = next(found["offset_bytes"] for found in partitions if found["name"] == "seed")
    done = subprocess.run(
        [command, "-i", f"{disk}@@{offset}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    """A seed with one file that its manifest does not know in this form changes nothing."""
    public = make_key(tmp_path).with_suffix(".pub")
    image = shared_image().manifest.parent
    device = stamp(image, Seed(DEVICE, CONFIG, [public]), disk_format="raw")
    try:
        changed = tmp_path / "config.toml"
        changed.write_text(CONFIG.read_text() + "# one more line\n")
        on_seed("mcopy", device.disk, "-o", str(changed), "::config.toml")
        with Machine(device.disk, kvm=kvm_is_usable(default_cache()), in_place=True) as machine:
            console = machine.wait_for_console("seed refused", BOOT_SECONDS)
            machine.wait_for_console("login:", BOOT_SECONDS)
            machine.press_power_button()
            machine.wait_for_end(BOOT_SECONDS)
        assert "config.toml" in console
        reason = on_seed("mtype", device.disk, "::error.txt")
        assert "config.toml" in reason
        assert "sha256" in reason
    finally:
        remove_device(image, DEVICE)
