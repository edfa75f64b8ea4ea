"""A device in a folder whose config.toml is applied for real, with its services as processes.

What `skerry config apply` does on an appliance, with this process's user for all services and
without systemd: a service is started when apply restarts it, and asked for what it runs with.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.devices import FolderFiles, make_device
from harness.services import Services
from skerry.base.client import ServiceClient, UnreachableError
from skerry.config.apply import Device, Outcome, ServiceError, apply
from skerry.identity.client import IdentityClient

_VERSION = "2020-09-01"


@dataclass
class Processes(Services):
    """The services of one device, with the settings of its generations."""

    etc: Path = Path()
    names: tuple[str, ...] = ("keyd", "certd", "identityd")

    def arguments(self, name: str) -> list[str]:
        """As the harness does, with the folders of a device."""
        ours = [f"--config-dir={self.etc / name}", f"--state-dir={self.folder / 'state' / name}"]
        return ours + super().arguments(name)[2:]

    def present(self, service: str) -> bool:
        """Tell whether this device has the service."""
        return service in self.names

    def restart(self, services: Sequence[str]) -> None:
        """Start services anew, all at once."""
        for name in services:
            if name in self.running:
                self.kill(name)
            self.spawn(name)
        for name in services:
            self.await_start(name)

    def await_digest(self, service: str, digest: str) -> None:
        """A service that has started has read its settings; they have to be the new ones."""
        try:
            answer = ServiceClient(self.socket(service), _VERSION).get("/config")
        except UnreachableError as error:
            raise ServiceError(str(error)) from error
        if not isinstance(answer, dict) or answer.get("digest") != digest:
            raise ServiceError(f"{service} runs with other settings")


@dataclass(frozen=True)
class AppliedDevice:
    """A device without a configuration at first."""

    device: Device
    processes: Processes

    @property
    def identity(self) -> IdentityClient:
        return IdentityClient(self.processes.socket("identityd"))

    def apply(self, text: str) -> Outcome:
        """Apply a config.toml."""
        return apply(text.encode(), "config.toml", self.device)


@contextmanager
def applied_device(folder: Path, *more: str) -> Iterator[AppliedDevice]:
    """Make a device in a folder, with more services if named; its processes end with the block."""
    folder.mkdir()
    made = make_device(folder)
    processes = Processes(folder, etc=made.paths.etc)
    processes.names += more
    try:
        yield AppliedDevice(
            replace(made, services=processes, source=FolderFiles(Path("/"))), processes
        )
    finally:
        processes.stop()
