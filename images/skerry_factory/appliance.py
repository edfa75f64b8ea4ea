"""A booted appliance, reached over SSH: what the demonstration, the bench and the tests ask of it.

The host key is taken once, right after the boot, from a machine that was made a moment ago and
listens on loopback; from then on nothing else is accepted.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from skerry.base.files import write_atomic
from skerry_factory.boot import Machine
from skerry_factory.demo import Identity, Workload
from skerry_factory.errors import MachineError
from skerry_factory.paths import package_data
from skerry_factory.ssh import ALIAS, Target, shared_connection
from skerry_factory.validate import Validation, validate

LOOPBACK = "127.0.0.1"
USER = "tech"
LOGIN_SECONDS = 900.0
COMMAND_SECONDS = 120.0
POLL_SECONDS = 1.0
READING = "reading"
CONSOLE_LINES = 30


@dataclass(frozen=True)
class Probe:
    """What the device says about itself; see data/probe.py."""

    provisioning: dict[str, Any] | None
    identity: dict[str, Any] | None
    edge_ca: dict[str, Any] | None
    modules: dict[str, Any] | None
    logs: str | None
    pss_kib: dict[str, int] | None
    errors: dict[str, str]


class BootedAppliance:
    """One running machine and a way to log in as its administrator; made by `booted`."""

    def __init__(self, machine: Machine, device: str, target: Target, config: Path) -> None:
        self.machine = machine
        self.device = device
        self.target = target
        self._config = config

    @property
    def how(self) -> str:
        return "with KVM" if self.machine.kvm else "no usable KVM: emulated"

    def run(
        self, command: str, *, stdin: str = "", timeout_seconds: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the appliance as its administrator, whatever its status."""
        line = ["ssh", "-F", str(self._config), ALIAS, command]
        try:
            return subprocess.run(
                line,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            seconds = f"{timeout_seconds:.0f} s"
            raise MachineError(
                f"{command!r} did not end in the appliance within {seconds}"
            ) from error

    def output_of(self, command: str, *, timeout_seconds: float = COMMAND_SECONDS) -> str:
        """Run a command that has to succeed; returns what it printed."""
        done = self.run(command, timeout_seconds=timeout_seconds)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise MachineError(f"{command!r} ended with {done.returncode} in the appliance: {said}")
        return done.stdout

    def probe(self, module: str) -> Probe | None:
        """Ask the device what it is and does; None when it does not answer."""
        script = package_data("probe.py").read_text("utf-8")
        try:
            done = self.run(f"sudo python3 - {module}", stdin=script)
        except MachineError:
            return None  # busy; who waits for it has a limit
        return Probe(**json.loads(done.stdout)) if done.returncode == 0 else None

    def native_pss_bytes(self) -> int:
        """Proportional memory of all native services that run now; wakes none of them."""
        script = package_data("probe.py").read_text("utf-8")
        done = self.run("sudo python3 - --memory", stdin=script)
        if done.returncode != 0:
            raise MachineError(f"the memory could not be read: {done.stderr.strip()}")
        pss_kib: dict[str, int] = json.loads(done.stdout)
        return 1024 * sum(pss_kib.values())

    def endorsement_key(self) -> str | None:
        done = self.run("sudo skerry tpm show --output json")
        if done.returncode != 0:
            return None
        key: str = json.loads(done.stdout)["endorsement_key"]
        return key

    def identity(self) -> Identity | None:
        told = self.probe("edgeAgent")
        if told is None or told.identity is None or told.provisioning is None:
            return None
        device = told.identity["spec"]["deviceId"]
        return Identity(told.provisioning["source"], device, _expiry(told.edge_ca))

    def workload(self, module: str) -> Workload | None:
        told = self.probe(module)
        if told is None or told.modules is None:
            return None
        for found in told.modules["modules"]:
            if found["name"] == module:
                status = found["status"]["runtimeStatus"]["status"]
                readings = [line for line in (told.logs or "").splitlines() if READING in line]
                return Workload(status, len(readings))
        return None

    def validate(self, waits_for: Callable[[str], None]) -> Validation:
        return validate(
            self.target, self._config.parent, appliance=self.device, waits_for=waits_for
        )

    def console_tail(self) -> str:
        return "\n".join(self.machine.console().replace("\r", "").splitlines()[-CONSOLE_LINES:])

    def restart(self, seconds: float = LOGIN_SECONDS) -> None:
        """Restart the system in order and wait until one can log in again."""
        ask = "cat /proc/sys/kernel/random/boot_id"
        former = self.output_of(ask)
        self.run("sudo systemctl reboot")
        deadline = time.monotonic() + seconds
        while (now := self.run(ask)).returncode != 0 or now.stdout == former:
            if time.monotonic() > deadline:
                raise MachineError(f"the appliance did not come back within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)


def _expiry(edge_ca: dict[str, Any] | None) -> str | None:
    if edge_ca is None:
        return None
    certificate = x509.load_pem_x509_certificate(edge_ca["pem"].encode())
    return certificate.not_valid_after_utc.date().isoformat()


@contextmanager
def booted(
    machine: Machine,
    device: str,
    key: Path,
    folder: Path,
    waits_for: Callable[[str], None] = lambda what: None,
) -> Iterator[BootedAppliance]:
    """Start `machine`, yield it once one can log in, and stop it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with machine:
        machine.wait_for_ssh(key, USER, LOGIN_SECONDS, waits_for)
        target = Target(LOOPBACK, machine.ssh_port, USER, key, folder / "known_hosts")
        write_atomic(target.known_hosts, host_key(target), mode=0o600)
        with shared_connection(target, folder / "ssh_config.shared") as config:
            yield BootedAppliance(machine, device, target, config)


def host_key(target: Target) -> bytes:
    """Return the line of a known_hosts file that a host shows for itself."""
    command = ["ssh-keyscan", "-T", "30", "-t", "ed25519", "-p", str(target.port), target.host]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if not done.stdout.strip():
        said = done.stderr.decode(errors="replace").strip()
        raise MachineError(f"the appliance shows no ed25519 host key: {said}")
    return done.stdout
