"""How the programs of a virtual machine are called: QEMU with UEFI, swtpm, and whether KVM works.

/dev/kvm may open and yet no guest get anywhere (a machine that is virtual itself). So KVM counts as
usable only when a guest's firmware has spoken; the answer is kept for this boot of the machine.
"""

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from skerry_factory.command import bound_command
from skerry_factory.errors import FactoryError

FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
FIRMWARE_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROBE_SECONDS = 12.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Hardware:
    """What a virtual machine is made of."""

    memory_mib: int = 2048
    cpus: int = 2
    tpm: bool = True
    serial: str = "skerry-virtual"


@dataclass(frozen=True)
class Files:
    """Paths of one running machine; sockets lie in a folder with a short name."""

    disk: Path
    disk_format: str
    variables: Path
    console: Path
    qmp: Path
    tpm_state: Path
    tpm_socket: Path


def qemu_command(hardware: Hardware, files: Files, ssh_port: int, *, kvm: bool) -> list[str]:
    """Return the command line of QEMU."""
    accelerator = ["-accel", "kvm", "-cpu", "host"]
    if not kvm:
        accelerator = ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]
    # unsafe only against a crash of this machine: what the guest wrote survives the end of QEMU
    drive = f"if=none,id=disk,file={_escaped(files.disk)},format={files.disk_format},cache=unsafe"
    command = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "q35,smm=off"),
        *accelerator,
        *("-m", str(hardware.memory_mib), "-smp", str(hardware.cpus)),
        *_firmware(files.variables),
        *("-drive", drive, "-device", "virtio-blk-pci,drive=disk"),
        *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{ssh_port}-:22"),
        *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
        *("-chardev", f"file,id=console,path={_escaped(files.console)}"),
        *("-serial", "chardev:console", "-display", "none", "-vga", "std"),
        *("-qmp", f"unix:{_escaped(files.qmp)},server=on,wait=off"),
        *("-smbios", f"type=1,serial={hardware.serial}"),
    ]
    if hardware.tpm:
        socket = f"socket,id=tpm-socket,path={_escaped(files.tpm_socket)}"
        command += ["-chardev", socket, "-tpmdev", "emulator,id=tpm,chardev=tpm-socket"]
        command += ["-device", "tpm-crb,tpmdev=tpm"]
    return command


def swtpm_command(files: Files) -> list[str]:
    """Return the command line of the software TPM; it ends when QEMU closes the connection."""
    state, socket = f"dir={files.tpm_state}", f"type=unixio,path={files.tpm_socket}"
    return ["swtpm", "socket", "--tpm2", "--tpmstate", state, "--ctrl", socket, "--terminate"]


def kvm_is_usable(cache: Path, device: Path = Path("/dev/kvm")) -> bool:
    """Tell whether a guest runs under KVM here; probes once per boot of this machine."""
    if not os.access(device, os.R_OK | os.W_OK):
        return False
    answer = cache / f"kvm-{BOOT_ID.read_text('utf-8').strip()}"
    if not answer.is_file():
        for old in cache.glob("kvm-*"):
            old.unlink(missing_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        answer.write_text("yes" if _firmware_speaks_under_kvm() else "no", "utf-8")
    return answer.read_text("utf-8") == "yes"


def require_firmware() -> None:
    """Raise when the firmware for virtual machines is not installed."""
    for file in (FIRMWARE, FIRMWARE_VARIABLES):
        if not file.is_file():
            raise FactoryError(f"UEFI firmware {str(file)!r} is missing; install package 'ovmf'")


def _firmware_speaks_under_kvm() -> bool:
    with tempfile.TemporaryDirectory(prefix="skerry-kvm-") as folder:
        variables, console = Path(folder) / "vars.fd", Path(folder) / "console"
        variables.write_bytes(FIRMWARE_VARIABLES.read_bytes())
        console.touch()
        command = [
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-user-config",
            "-machine",
            "q35,smm=off",
        ]
        command += ["-accel", "kvm", "-cpu", "host", "-m", "256", *_firmware(variables)]
        command += ["-display", "none", "-serial", f"file:{console}"]
        probe = subprocess.Popen(
            bound_command(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + PROBE_SECONDS
            while time.monotonic() < deadline and probe.poll() is None:
                if b"Bds" in console.read_bytes():
                    return True
                time.sleep(POLL_SECONDS)
            return False
        finally:
            probe.kill()
            probe.wait()


def _firmware(variables: Path) -> list[str]:
    read_only = f"if=pflash,format=raw,readonly=on,file={FIRMWARE}"
    return ["-drive", read_only, "-drive", f"if=pflash,format=raw,file={_escaped(variables)}"]


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")
