"""The image that the tests of tier `vm` share: built once through the cache, stamped per test.

It lies where `make demo` puts it, so that a run after a demonstration builds nothing.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from skerry_factory.appliance import BootedAppliance, booted
from skerry_factory.boot import Machine
from skerry_factory.build import BuildResult, build_image
from skerry_factory.command import run_command
from skerry_factory.command_line import default_cache
from skerry_factory.definition import find_definition
from skerry_factory.paths import Checkout
from skerry_factory.progress import Progress
from skerry_factory.qemu import kvm_is_usable
from skerry_factory.stamp import Seed, remove_device, stamp

IMAGE = "debian-13-amd64"


@cache
def shared_image() -> BuildResult:
    """Return the image, built when it is not there."""
    checkout = Checkout.of_package()
    definition = find_definition(IMAGE, checkout)
    out = checkout.output / IMAGE
    return build_image(definition, out, default_cache(), Progress(sys.stderr))


@contextmanager
def booted_device(
    name: str, config: Path, folder: Path, secrets: Mapping[str, Path] | None = None
) -> Iterator[BootedAppliance]:
    """Boot the shared image as a device of its own, whose disk is removed at the end."""
    image = shared_image().manifest.parent
    key = folder / "key"
    run_command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    seed = Seed(name, config, [key.with_suffix(".pub")], secrets or {})
    device = stamp(image, seed)
    try:
        machine = Machine(device.disk, kvm=kvm_is_usable(default_cache()), in_place=True)
        with booted(machine, name, key, folder) as appliance:
            yield appliance
    finally:
        remove_device(image, name)
