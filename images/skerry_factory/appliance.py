"""A booted appliance, reached over SSH: what the demonstration, the bench and the tests ask of it.

The host key is taken once, right after the boot, from a machine that was made a moment ago and
listens on loopback; from then on nothing else is accepted. One SSH connection is shared by all
commands, since logging in is what costs most on an emulated machine; `close` ends it.
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
from skerry_factory.validate import ALIAS, Target, Validation, validate

USER = "tech"
LOGIN_SECONDS = 900.0
COMMAND_SECONDS = 120.0
POLL_SECONDS = 1.0
READING = "reading"
CONSOLE_LINES = 30


@dataclass(frozen=True)
class Probe:
    """What the device says about itself; see data/probe.py."""

    identity: dict[str, Any] | None
    edge_ca: dict[str, Any] | None
    modules: dict[str, Any] | None
    logs: str | None
    pss_kib: dict[str, int] | None
    errors: dict[str, str]


class BootedAppliance:
    """One running machine and a way to log in as its administrator."""

    def __init__(self, machine: Machine, device: str, key: Path, folder: Path) -> None:
        self.machine = machine
        self.device = device
        self.folder = folder
        known_hosts = folder / "known_hosts"
        self.target = Target("127.0.0.1", machine.ssh_port, USER, key, known_hosts)

    @property
    def how(self) -> str:
        return "with KVM" if self.machine.kvm else "no usable KVM: emulated"

    def pin_host_key(self) -> None:
        """Take the machine's host key; nothing else is accepted afterwards."""
        command = ["ssh-keyscan", "-T", "30", "-t", "ed25519", "-p", str(self.target.port)]
        done = subprocess.run(
            [*command, self.target.host], capture_output=True, timeout=60, check=False
        )
        if not done.stdout.strip():
            said = done.stderr.decode(errors="replace").strip()
            raise MachineError(f"the appliance shows no ed25519 host key: {said}")
        write_atomic(self.target.known_hosts, done.stdout, mode=0o600)
        write_atomic(self._config, self._ssh_config().encode(), mode=0o600)

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
        done = self.run(f"sudo python3 - {module}", stdin=script)
        return Probe(**json.loads(done.stdout)) if done.returncode == 0 else None

    def identity(self) -> Identity | None:
        told = self.probe("edgeAgent")
        if told is None or told.identity is None:
            return None
        spec = told.identity["spec"]
        standalone = spec["hubName"] == spec["gatewayHost"]
        source = "standalone" if standalone else f"hub {spec['hubName']}"
        return Identity(source, spec["deviceId"], _expiry(told.edge_ca))

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
        return validate(self.target, self.folder, appliance=self.device, waits_for=waits_for)

    def console_tail(self) -> str:
        return "\n".join(self.machine.console().replace("\r", "").splitlines()[-CONSOLE_LINES:])

    def wait_until_answers(self, seconds: float = LOGIN_SECONDS) -> None:
        """Wait until a command runs in the appliance, after it was restarted for example."""
        deadline = time.monotonic() + seconds
        while self.run("true").returncode != 0:
            if time.monotonic() > deadline:
                raise MachineError(f"the appliance did not answer within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """End the shared SSH connection."""
        self._control("exit")

    def _control(self, command: str) -> None:
        line = ["ssh", "-F", str(self._config), "-O", command, ALIAS]
        subprocess.run(line, capture_output=True, timeout=30, check=False)

    @property
    def _config(self) -> Path:
        return self.folder / "ssh_config.shared"

    def _ssh_config(self) -> str:
        # a socket's path may have 107 characters, so it lies with the machine's own sockets
        sockets = self.machine.short_folder / "ssh"
        shared = ["ControlMaster auto", "ControlPersist 120", f'ControlPath "{sockets}"']
        return "\n".join([self.target.ssh_config(), *(f"  {line}" for line in shared)]) + "\n"


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
        appliance = BootedAppliance(machine, device, key, folder)
        appliance.pin_host_key()
        try:
            yield appliance
        finally:
            appliance.close()
