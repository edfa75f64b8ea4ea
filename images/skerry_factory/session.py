"""One `skerry-factory boot`: what is booted, until when, and what a person sees meanwhile.

An image has no one who may log in, so an ID boots a throw-away device: stamped with the given (or
the example) configuration and a key made for this session. A disk boots as it is and keeps what is
written to it.
"""

import secrets
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from skerry_factory.appliance import LOGIN_SECONDS, USER, BootedAppliance, booted
from skerry_factory.boot import DEFAULT_SIZE_BYTES, Machine
from skerry_factory.command import run_command
from skerry_factory.errors import FactoryError, MachineError
from skerry_factory.progress import Reporter, StepReporter
from skerry_factory.qemu import kvm_is_usable
from skerry_factory.stamp import Seed, remove_device, stamp

READY_SECONDS = 900.0
POLL_SECONDS = 2.0
BOOT_DETAIL = "QEMU, OVMF, TPM 2.0"


@dataclass(frozen=True)
class BootRequest:
    """What to boot: the folder of an image, or a disk with the key that may log in."""

    image: Path | None
    disk: Path | None
    config: Path
    key: Path | None


@dataclass(frozen=True)
class Prepared:
    """A disk ready to boot."""

    disk: Path
    key: Path | None
    in_place: bool
    modules: tuple[str, ...]


@contextmanager
def prepared(request: BootRequest) -> Iterator[Prepared]:
    """Yield what is to be booted; a throw-away device is removed afterwards."""
    if request.disk is not None:
        yield Prepared(request.disk, request.key, in_place=True, modules=())
        return
    if request.image is None:
        raise FactoryError("nothing to boot; give the id of an image, or a disk")
    name = f"boot-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="skerry-key-") as folder, ExitStack() as cleaning:
        key = Path(folder) / "key"
        run_command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)])
        public = [key.with_suffix(".pub")]
        cleaning.callback(remove_device, request.image, name)
        device = stamp(request.image, Seed(name, request.config, authorized_keys=public))
        modules = tomllib.loads(request.config.read_text("utf-8")).get("modules", {})
        yield Prepared(device.disk, key, in_place=True, modules=tuple(modules))


def boot(
    request: BootRequest, cache: Path, report: Reporter, *, until: str | None, shell: bool
) -> dict[str, object]:
    """Boot, wait for the state asked for, perhaps open a shell; returns times in seconds."""
    with ExitStack() as running:
        ready_to_boot = running.enter_context(prepared(request))
        machine = Machine(
            ready_to_boot.disk,
            kvm=kvm_is_usable(cache),
            in_place=ready_to_boot.in_place,
            size_bytes=DEFAULT_SIZE_BYTES,
        )
        how = "with KVM" if machine.kvm else "no usable KVM: emulated"
        started = time.monotonic()
        if ready_to_boot.key is None:
            return _without_login(machine, report, how, until, shell=shell)
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="skerry-ssh-")))
        with report.step("boot", BOOT_DETAIL) as step:
            device = booted(machine, "boot", ready_to_boot.key, folder, step.waits_for)
            appliance = running.enter_context(device)
            step.done_as(how)
        times: dict[str, object] = {"login_seconds": round(time.monotonic() - started, 1)}
        if until == "ready":
            with report.step("ready", "system and modules") as step:
                wait_until_ready(appliance, ready_to_boot.modules, step)
            times["ready_seconds"] = round(time.monotonic() - started, 1)
        if shell:
            report.note("  log out to switch the appliance off")
            subprocess.run(machine.ssh_command(ready_to_boot.key, USER), check=False)
        elif until is None:
            _hold(machine, ready_to_boot.key, report)
        return {**times, "how": how}


def wait_until_ready(
    appliance: BootedAppliance, modules: tuple[str, ...], step: StepReporter
) -> None:
    """Wait until systemd has started everything and every module runs."""
    deadline = time.monotonic() + READY_SECONDS
    while (missing := _missing(appliance, modules)) is not None:
        step.waits_for(missing)
        if time.monotonic() > deadline:
            raise MachineError(
                f"the appliance is not ready after {READY_SECONDS:.0f} s: waiting for {missing}"
                f"\n{appliance.console_tail()}"
            )
        time.sleep(POLL_SECONDS)


def _missing(appliance: BootedAppliance, modules: tuple[str, ...]) -> str | None:
    state = appliance.run("systemctl is-system-running").stdout.strip()
    if state == "degraded":
        failed = appliance.run("systemctl --failed --plain --no-legend").stdout.strip()
        raise MachineError(f"unit(s) failed in the appliance:\n{failed}")
    if state != "running":
        return f"systemd, which is {state or 'not answering'}"
    for module in modules:
        workload = appliance.workload(module)
        if workload is None or workload.status != "running":
            return f"module {module!r}"
    return None


def _without_login(
    machine: Machine, report: Reporter, how: str, until: str | None, *, shell: bool
) -> dict[str, object]:
    if shell or until == "ready":
        raise FactoryError("logging in to a disk needs --key FILE, the private key of its seed")
    started = time.monotonic()
    with machine:
        with report.step("boot", BOOT_DETAIL) as step:
            machine.wait_for_console("login:", LOGIN_SECONDS, step.waits_for)
            step.done_as(how)
        seconds = round(time.monotonic() - started, 1)
        if until is None:
            _hold(machine, None, report)
    return {"login_seconds": seconds, "how": how}


def _hold(machine: Machine, key: Path | None, report: Reporter) -> None:
    if key is not None:
        report.note("  " + " ".join(machine.ssh_command(key, USER)))
    report.note(f"  console: {machine.console_path}; Ctrl-C switches the appliance off")
    while machine.is_running():
        time.sleep(POLL_SECONDS)
