"""An appliance for checks whose config.toml is applied for real, with keyd and certd in a thread.

Folders and collaborators are those of `harness.appliances`; what the services are asked is answered
by the services.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.appliances import Machine
from harness.applied import Processes
from harness.devices import FolderFiles, RunningServices, make_device
from harness.lab import START, Signed, signed
from skerry.config.apply import apply

CONFIG = """
hostname = "house"
trust_bundle_cert = "file://{folder}/hub-ca.pem"
[provisioning]
source = "manual"
iothub_hostname = "hub.test"
device_id = "house"
[provisioning.authentication]
method = "x509"
identity_cert = "file://{folder}/device.pem"
identity_pk = "file://{folder}/device.key"
[cert_issuance.local_ca]
cert = "file://{folder}/ca.pem"
pk = "file://{folder}/ca.key"
[edge_ca]
method = "local_ca"
"""


@dataclass
class Checked:
    """A machine with a configuration in force."""

    machine: Machine
    services: Processes
    files: Path
    identity: Signed

    def configure(self, text: str = CONFIG) -> None:
        """Apply a configuration; `{folder}` stands for the folder of the files it names."""
        text = text.replace("{folder}", str(self.files))
        made = make_device(self.machine.root / "device")
        device = replace(
            made,
            paths=self.machine.paths,
            services=RunningServices(self.machine.paths.etc),
            source=FolderFiles(self.files),
        )
        apply(text.encode(), "config.toml", device)
        self.machine.paths.installed.write_text(text)

    def serve(self, *names: str) -> None:
        """Start services with the settings in force, again if they run."""
        for name in names:
            self.services.end_hosted(name)
            self.services.host(name)

    def put(self, file: str, text: str) -> None:
        """Write one of the files that the configuration names."""
        (self.files / file).write_text(text)


@contextmanager
def checked(folder: Path) -> Iterator[Checked]:
    """Make one with all in order; the services end with the block."""
    machine = Machine(folder / "root")
    # edged's own file is the package's, and empty
    for service in ("keyd", "certd", "identityd", "tpmd", "edged"):
        link = machine.paths.etc / service / "config.d" / "00-super.toml"
        link.parent.mkdir(parents=True)
        link.symlink_to(f"../../current/{service}.toml")
    files = folder / "files"
    files.mkdir()
    run = machine.root / "run/skerry"
    run.mkdir(parents=True)
    services = Processes(run, etc=machine.paths.etc)
    made = Checked(machine, services, files, signed("house"))
    authority = signed("site CA", authority=True)
    made.put("device.pem", made.identity.chain_pem)
    made.put("device.key", made.identity.key_pem)
    made.put("ca.pem", authority.chain_pem)
    made.put("ca.key", authority.key_pem)
    made.put("hub-ca.pem", signed("hub CA", authority=True, start=START).chain_pem)
    made.configure()
    try:
        yield made
    finally:
        services.stop()
