"""What a demonstration is made of in earnest: the build, a stamped disk, a virtual machine.

    out/demo/id_ed25519, .pub   key of this demonstration, made anew each time
    out/demo/report.html        result of the validation, with junit.xml and the SSH configuration
    out/demo/lab/               the lab cloud of this demonstration, see demo_cloud.py

The stamped disk stays in the image's folder, for `skerry-factory boot`; the machine writes into an
overlay that ends with it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skerry_factory.appliance import BootedAppliance, booted
from skerry_factory.boot import Machine
from skerry_factory.build import BuildResult, build_image
from skerry_factory.command import run_command
from skerry_factory.definition import Definition
from skerry_factory.demo import Method
from skerry_factory.demo_cloud import LabCloud, running_lab
from skerry_factory.progress import Progress, Step
from skerry_factory.qemu import kvm_is_usable
from skerry_factory.stamp import Seed, StampedDevice, stamp

MEGABYTE = 1_000_000


@dataclass
class RealParts:
    """Builds, stamps and boots with the factory itself."""

    definition: Definition
    method: Method
    config: Path
    device: str
    out: Path
    cache: Path
    folder: Path
    progress: Progress
    lab: LabCloud | None = None
    stamped: StampedDevice | None = None

    @property
    def image(self) -> str:
        return self.definition.id

    def build(self) -> str:
        result = build_image(self.definition, self.out, self.cache, self.progress)
        return described(result)

    @contextmanager
    def cloud(self) -> Iterator[LabCloud]:
        with running_lab(self.folder / "lab") as self.lab:
            yield self.lab

    def stamp(self) -> None:
        key = make_key(self.folder)
        public = key.with_suffix(".pub")
        seed = Seed(self.device, self.config, [public])
        self.stamped = stamp(self.out, seed if self.lab is None else self.lab.seed(seed))

    @contextmanager
    def boot(self, step: Step) -> Iterator[BootedAppliance]:
        if self.stamped is None:
            raise RuntimeError("boot before stamp")
        step.waits_for("a probe whether KVM works")
        kvm = kvm_is_usable(self.cache)
        machine = Machine(self.stamped.disk, kvm=kvm)
        key = self.folder / "id_ed25519"
        with booted(machine, self.device, key, self.folder, step.waits_for) as appliance:
            yield appliance


def described(result: BuildResult) -> str:
    """Return the facts of an image in words."""
    manifest = result.read_manifest()
    smallest = min(manifest["outputs"], key=lambda output: str(output["format"] != "qcow2"))
    size = f"{smallest['size_bytes'] / MEGABYTE:.0f} MB"
    packages = f"{len(manifest['packages'])} packages"
    return f"{size}, {packages}, sha256 {smallest['sha256'][:8]}…"


def make_key(folder: Path) -> Path:
    """Make a new SSH key pair in a folder; returns the private key's file."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "id_ed25519"
    for file in (key, key.with_suffix(".pub")):
        file.unlink(missing_ok=True)
    run_command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "skerry", "-f", str(key)])
    return key
