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

from skerry_factory.architecture import AMD64, ARM64, Architecture
from skerry_factory.command import bound_command, run_command
from skerry_factory.errors import FactoryError
from skerry_factory.gpt import read_table

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROBE_SECONDS = 12.0
TABLE_BYTES = 1 << 20
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Platform:
    """What QEMU's machine of an architecture consists of beside the devices that all have."""

    program: str
    machine: str
    firmware: Path
    variables: Path
    package: str
    tpm: str
    screen: tuple[str, ...]

    def require_firmware(self) -> None:
        """Raise when the firmware is not installed."""
        for file in (self.firmware, self.variables):
            if not file.is_file():
                raise FactoryError(
                    f"UEFI firmware {str(file)!r} is missing; install package {self.package!r}"
                )


PLATFORMS = {
    AMD64: Platform(
        program="qemu-system-x86_64",
        machine="q35,smm=off",
        firmware=Path("/usr/share/OVMF/OVMF_CODE_4M.fd"),
        variables=Path("/usr/share/OVMF/OVMF_VARS_4M.fd"),
        package="ovmf",
        tpm="tpm-crb",
        screen=("-vga", "std"),
    ),
    ARM64: Platform(
        program="qemu-system-aarch64",
        machine="virt,gic-version=3",
        firmware=Path("/usr/share/AAVMF/AAVMF_CODE.fd"),
        variables=Path("/usr/share/AAVMF/AAVMF_VARS.fd"),
        package="qemu-efi-aarch64",
        tpm="tpm-tis-device",
        screen=("-device", "virtio-gpu-pci"),
    ),
}


@dataclass(frozen=True)
class Hardware:
    """What a virtual machine is made of; CD and sticks are only read.

    `network_boot` is an EFI program that the firmware loads over TFTP when no disk boots;
    `kernel_arguments` reach unified kernel images through the firmware's tables.
    """

    memory_mib: int = 2048
    cpus: int = 2
    tpm: bool = True
    serial: str = "skerry-virtual"
    cd: Path | None = None
    sticks: tuple[Path, ...] = ()
    network_boot: Path | None = None
    kernel_arguments: str = ""


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


def qemu_command(
    hardware: Hardware, of: Architecture, files: Files, ssh_port: int, *, kvm: bool
) -> list[str]:
    """Return the command line of QEMU; KVM serves the machine's own architecture alone."""
    own = PLATFORMS[of]
    accelerator = ["-accel", "kvm", "-cpu", "host"]
    if not kvm or of.is_foreign:
        accelerator = ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]
    # unsafe only against a crash of this machine: what the guest wrote survives the end of QEMU
    drive = f"if=none,id=disk,file={_escaped(files.disk)},format={files.disk_format},cache=unsafe"
    command = [
        *(own.program, "-nodefaults", "-no-user-config", "-machine", own.machine),
        *accelerator,
        *("-m", str(hardware.memory_mib), "-smp", str(hardware.cpus)),
        *_firmware(own, files.variables),
        *("-drive", drive, "-device", "virtio-blk-pci,drive=disk"),
        *_media(hardware),
        *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{ssh_port}-:22{_tftp(hardware)}"),
        *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
        *("-chardev", f"file,id=console,path={_escaped(files.console)}"),
        *("-serial", "chardev:console", "-display", "none", *own.screen),
        *("-qmp", f"unix:{_escaped(files.qmp)},server=on,wait=off"),
        *("-smbios", f"type=1,serial={hardware.serial}"),
    ]
    if hardware.tpm:
        socket = f"socket,id=tpm-socket,path={_escaped(files.tpm_socket)}"
        command += ["-chardev", socket, "-tpmdev", "emulator,id=tpm,chardev=tpm-socket"]
        command += ["-device", f"{own.tpm},tpmdev=tpm"]
    return command


def _media(hardware: Hardware) -> list[str]:
    options = []
    if hardware.cd is not None:
        options += ["-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=cd"]
        drive = f"if=none,id=cd,media=cdrom,file={_escaped(hardware.cd)},format=raw"
        options += ["-drive", f"{drive},readonly=on"]
    for number, stick in enumerate(hardware.sticks):
        drive = f"if=none,id=stick{number},file={_escaped(stick)},format=raw,readonly=on"
        options += ["-drive", drive, "-device", f"virtio-blk-pci,drive=stick{number}"]
    if hardware.kernel_arguments:
        value = _escaped(hardware.kernel_arguments)
        options += ["-smbios", f"type=11,value=io.systemd.stub.kernel-cmdline-extra={value}"]
    return options


def _tftp(hardware: Hardware) -> str:
    if hardware.network_boot is None:
        return ""
    folder, name = _escaped(hardware.network_boot.parent), hardware.network_boot.name
    return f",tftp={folder},bootfile={name}"


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


def architecture_of(disk: Path) -> Architecture:
    """Return what a disk in any format is for, by the type of its root; else the machine's own."""
    with tempfile.TemporaryDirectory(prefix="skerry-table-") as folder:
        start = Path(folder) / "start"
        copy = [f"if={disk}", f"of={start}", f"bs={TABLE_BYTES}", "count=1"]
        run_command(["qemu-img", "dd", "-O", "raw", *copy])
        try:
            _, partitions = read_table(start)
        except FactoryError:
            partitions = []
    types = {part.type for part in partitions}
    found = [one for one in PLATFORMS if one.root_type in types]
    usual = [one for one in PLATFORMS if not one.is_foreign]
    return (found or usual or [AMD64])[0]


def _firmware_speaks_under_kvm() -> bool:
    with tempfile.TemporaryDirectory(prefix="skerry-kvm-") as folder:
        variables, console = Path(folder) / "vars.fd", Path(folder) / "console"
        own = PLATFORMS[AMD64]
        variables.write_bytes(own.variables.read_bytes())
        console.touch()
        command = [own.program, "-nodefaults", "-no-user-config", "-machine", own.machine]
        command += ["-accel", "kvm", "-cpu", "host", "-m", "256", *_firmware(own, variables)]
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


def _firmware(own: Platform, variables: Path) -> list[str]:
    read_only = f"if=pflash,format=raw,readonly=on,file={own.firmware}"
    return ["-drive", read_only, "-drive", f"if=pflash,format=raw,file={_escaped(variables)}"]


def _escaped(path: Path | str) -> str:
    return str(path).replace(",", ",,")
