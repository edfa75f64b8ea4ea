"""Virtual machines: what is waited for, what is said when it does not come, what stays."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from fakes import qemu
from skerry_factory.architecture import AMD64, ARM64, Architecture
from skerry_factory.boot import Machine
from skerry_factory.errors import FactoryError, MachineError
from skerry_factory.gpt import Partition, write_table
from skerry_factory.qemu import Files, Hardware, architecture_of, kvm_is_usable, qemu_command


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    return path


@pytest.fixture
def behaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put the programs of a virtual machine on PATH, and its temporary folder under the test's."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    qemu.install(tmp_path / "bin", "boots")
    return monkeypatch


def children() -> set[str]:
    tasks = Path("/proc/self/task").glob("*/children")
    return {pid for task in tasks for pid in task.read_text().split()}


@pytest.mark.usefixtures("behaves")
def test_a_machine_is_waited_for_and_ended(disk: Path) -> None:
    """The console is read while the machine runs; at the end no process and no folder is left."""
    before = children()
    with Machine(disk) as machine:
        assert "Linux version" in machine.wait_for_console("login:", 10)
        folder = machine.console_path.parent
        assert (machine.is_running(), len(children() - before)) == (True, 2)
    assert (children() - before, folder.exists()) == (set(), False)


@pytest.mark.usefixtures("behaves")
def test_the_disk_is_only_read(disk: Path) -> None:
    """Writes go to an overlay that is as large as asked for."""
    content = disk.read_bytes()
    with Machine(disk, size_bytes=1 << 30) as machine:
        overlay = machine.console_path.with_name("overlay.qcow2")
        shown = subprocess.check_output(["qemu-img", "info", overlay], text=True)
    assert "1 GiB" in shown
    assert disk.read_bytes() == content


@pytest.mark.usefixtures("behaves")
def test_the_screen_and_the_power_button(disk: Path, tmp_path: Path) -> None:
    """QMP saves the screen and presses the button; what QEMU refuses is told."""
    with Machine(disk) as machine:
        machine.screendump(tmp_path / "screen.png")
        machine.press_power_button()
        with pytest.raises(MachineError, match="QEMU refused system_reset: no such command"):
            machine.reset()
    assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("behaves")
def test_a_text_that_does_not_come_is_named(disk: Path) -> None:
    """After the time the message has the text and the last of the console."""
    with Machine(disk) as machine:
        machine.wait_for_console("login:", 10)
        with pytest.raises(
            MachineError, match=r"no sign of 'ready!' on the console within 0 s"
        ) as e:
            machine.wait_for_console("ready!", 0)
    assert "box login:" in str(e.value)


@pytest.mark.usefixtures("behaves")
def test_a_machine_that_fails_to_start_says_why(disk: Path, tmp_path: Path) -> None:
    """What QEMU said is in the message, and nothing is left running."""
    qemu.install(tmp_path / "bin", "dies")
    before = children()
    with pytest.raises(MachineError, match="Could not access KVM"), Machine(disk):
        pass
    assert children() == before


@pytest.mark.usefixtures("behaves")
def test_a_machine_that_ends_by_itself(disk: Path, tmp_path: Path) -> None:
    """Switching off is an end one can wait for, and an error for who waits for something else."""
    qemu.install(tmp_path / "bin", "powers off")
    with Machine(disk) as machine:
        machine.wait_for_end(10)
        with pytest.raises(MachineError, match="the machine ended while waiting for 'ready!'"):
            machine.wait_for_console("ready!", 10)


KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from pathlib import Path
from skerry_factory.architecture import AMD64, ARM64, Architecture
from skerry_factory.boot import Machine
with Machine(Path(sys.argv[1])) as machine:
    tasks = Path("/proc/self/task").glob("*/children")
    print(machine.console_path.parent, *[pid for task in tasks for pid in task.read_text().split()])
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("behaves")
def test_nothing_runs_on_after_a_kill(disk: Path, tmp_path: Path) -> None:
    """A killed factory takes its machine along, and the next one removes the folder it left."""
    command = [sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(disk)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    folder, *pids = killed.stdout.split()
    assert (killed.returncode, len(pids), Path(folder).is_dir()) == (-9, 2, True)
    deadline = time.monotonic() + 10
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline, f"{pids} still run"
        time.sleep(0.05)
    with Machine(disk):
        assert not Path(folder).exists()


def _runs(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_missing_program_is_named(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without swtpm the message says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FactoryError, match=r"'swtpm' is not installed; install requirements"):
        Machine(disk).__enter__()


def test_kvm_that_cannot_be_opened_is_not_usable(tmp_path: Path) -> None:
    """Without the device there is nothing to probe."""
    assert not kvm_is_usable(tmp_path, device=tmp_path / "kvm")


def test_the_answer_of_a_probe_is_kept_for_this_boot(tmp_path: Path) -> None:
    """A probe runs once per boot of the machine; answers of former boots do not count."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / f"kvm-{boot_id}").write_text("yes")
    (tmp_path / "device").touch()
    assert kvm_is_usable(tmp_path, device=tmp_path / "device")


def test_a_firmware_that_does_not_speak_is_no_kvm(
    tmp_path: Path, behaves: pytest.MonkeyPatch
) -> None:
    """When QEMU ends without a word from the firmware KVM is not used, and that is kept."""
    qemu.install(tmp_path / "bin", "dies")
    (tmp_path / "kvm-of-another-boot").write_text("yes")
    (tmp_path / "device").touch()
    assert not kvm_is_usable(tmp_path, device=tmp_path / "device")
    kept = list(tmp_path.glob("kvm-*"))
    assert [answer.read_text() for answer in kept] == ["no"]


def test_the_command_line_has_tpm_uefi_and_loopback_only(tmp_path: Path) -> None:
    """The machine has UEFI and a TPM, and its SSH is reachable from this machine alone."""
    names = ("disk", "variables", "console", "qmp", "tpm", "tpm.sock")
    disk, variables, console, qmp, state, sock = (tmp_path / name for name in names)
    files = Files(disk, "qcow2", variables, console, qmp, state, sock)
    line = " ".join(qemu_command(Hardware(), AMD64, files, 2222, kvm=False))
    assert "hostfwd=tcp:127.0.0.1:2222-:22" in line
    assert "if=pflash,format=raw,readonly=on" in line
    assert "-device tpm-crb,tpmdev=tpm" in line
    assert "-accel tcg" in line
    assert "kvm" in " ".join(qemu_command(Hardware(tpm=False), AMD64, files, 2222, kvm=True))


def test_another_architecture_is_emulated(tmp_path: Path) -> None:
    """A machine of 64-bit ARM has its own program and devices, and KVM only among its like."""
    names = ("disk", "variables", "console", "qmp", "tpm", "tpm.sock")
    disk, variables, console, qmp, state, sock = (tmp_path / name for name in names)
    files = Files(disk, "qcow2", variables, console, qmp, state, sock)
    line = " ".join(qemu_command(Hardware(), ARM64, files, 2222, kvm=ARM64.is_foreign))
    assert line.startswith("qemu-system-aarch64 ")
    assert "-device tpm-tis-device,tpmdev=tpm" in line
    assert "-accel tcg" in line


@pytest.mark.parametrize("kind", [AMD64, ARM64], ids=lambda one: one.name)
def test_a_disk_tells_what_it_is_for(tmp_path: Path, kind: Architecture) -> None:
    """The type of the root partition names the architecture, in every format that QEMU reads."""
    raw, other = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(bytes(8 << 20))
    root = Partition("root-a", "ROOT", kind.root_type, uuid.uuid4(), 1 << 20, 4 << 20)
    write_table(raw, uuid.uuid4(), [root])
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(other)]
    subprocess.run(command, check=True)
    assert (architecture_of(raw), architecture_of(other)) == (kind, kind)
