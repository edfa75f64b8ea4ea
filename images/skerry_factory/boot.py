"""A virtual machine as a context manager: QEMU with UEFI and a TPM 2.0, ended without a trace.

    with Machine(disk) as machine:
        machine.wait_for_console("login:", 300)
        machine.wait_for_ssh(key, "tech", 300)

By default the disk is only read: writes go to an overlay that ends with the machine and is as large
as `size_bytes`, so that growing at first boot happens. Both programs are children of this process
and are ended by process id; should this process be killed, the kernel ends them, and the next
machine sweeps up the folder that stayed.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skerry_factory.architecture import AMD64
from skerry_factory.command import bound_command, run_command
from skerry_factory.errors import MachineError
from skerry_factory.qemu import (
    PLATFORMS,
    Files,
    Hardware,
    architecture_of,
    qemu_command,
    swtpm_command,
)

DEFAULT_SIZE_BYTES = 8 << 30
POLL_SECONDS = 0.2
SSH_TRY_SECONDS = 20.0
END_SECONDS = 10.0
SHOWN_CONSOLE_LINES = 30
FOLDER_PREFIX = "skerry-vm-"
SSH_OPTIONS = (
    *("-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"),
    # the machine was made a moment ago and listens on loopback only
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
)

Waiting = Callable[[str], None]


class Machine:
    """One virtual machine; `console_path` grows with what it writes to its serial console."""

    def __init__(
        self,
        disk: Path,
        *,
        kvm: bool = False,
        hardware: Hardware | None = None,
        size_bytes: int = DEFAULT_SIZE_BYTES,
        in_place: bool = False,
        folder: Path | None = None,
    ) -> None:
        self.disk = disk.resolve()
        self.kvm = kvm
        self.hardware = hardware or Hardware()
        self.ssh_port = 0
        self.architecture = AMD64
        self._size_bytes = size_bytes
        self._in_place = in_place
        self._folder = folder
        self._temporary: Path | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._files: Files | None = None

    def __enter__(self) -> Self:
        self.architecture = architecture_of(self.disk)
        PLATFORMS[self.architecture].require_firmware()
        _sweep()
        self._temporary = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
        try:
            self._files = self._prepare(self._folder or self._temporary, self._temporary)
            self._start(self._files)
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clean_up()

    @property
    def console_path(self) -> Path:
        """File that holds everything the machine wrote to its serial console."""
        return self._running().console

    def console(self) -> str:
        """Return what the machine wrote to its serial console so far."""
        return self.console_path.read_text("utf-8", "replace")

    def is_running(self) -> bool:
        """Tell whether the machine has not ended by itself."""
        return bool(self._children) and self._children[-1].poll() is None

    def wait_for_console(self, text: str, timeout: float, waiting: Waiting | None = None) -> str:
        """Wait until the console shows a text; returns all of the console."""
        if waiting:
            waiting(f"{text!r} on the console")
        self._wait(lambda: text in self.console(), timeout, f"{text!r} on the console")
        return self.console()

    def wait_for_end(self, timeout: float) -> None:
        """Wait until the machine has switched itself off."""
        self._wait(lambda: not self.is_running(), timeout, "the machine to switch off", end=True)

    def wait_for_ssh(
        self, key: Path, user: str, timeout: float, waiting: Waiting | None = None
    ) -> None:
        """Wait until a person can log in over SSH."""
        what = f"SSH as {user!r} on port {self.ssh_port}"
        if waiting:
            waiting(what)
        self._wait(lambda: self.ssh(key, user, "true").returncode == 0, timeout, what)

    def ssh_command(self, key: Path, user: str) -> list[str]:
        """Return the beginning of an ssh command line that reaches the machine."""
        return [
            *("ssh", *SSH_OPTIONS, "-i", str(key), "-o", "IdentitiesOnly=yes"),
            *("-p", str(self.ssh_port), f"{user}@127.0.0.1"),
        ]

    def ssh(
        self, key: Path, user: str, command: str, timeout: float = SSH_TRY_SECONDS
    ) -> "subprocess.CompletedProcess[str]":
        """Run a shell command in the machine; a time-out counts as status 255, as ssh has it."""
        line = [*self.ssh_command(key, user), command]
        try:
            return subprocess.run(
                line,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(line, 255, "", f"no answer in {timeout:.0f} s")

    def screendump(self, path: Path) -> None:
        """Save what the machine shows on its screen as a PNG."""
        self._qmp("screendump", {"filename": str(path.resolve()), "format": "png"})

    def press_power_button(self) -> None:
        """Ask the system to shut down, as the button on the case does."""
        self._qmp("system_powerdown", {})

    def reset(self) -> None:
        """Reset the machine at once, as the reset button does."""
        self._qmp("system_reset", {})

    def _prepare(self, folder: Path, short: Path) -> Files:
        folder.mkdir(parents=True, exist_ok=True)
        info = json.loads(run_command(["qemu-img", "info", "--output=json", str(self.disk)]))
        disk, disk_format = self.disk, str(info["format"])
        if not self._in_place:
            disk, disk_format = folder / "overlay.qcow2", "qcow2"
            size = str(max(self._size_bytes, int(info["virtual-size"])))
            backing = ["-b", str(self.disk), "-F", str(info["format"])]
            run_command(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk), size])
        state = folder / "tpm"
        state.mkdir(exist_ok=True)
        files = Files(
            disk=disk,
            disk_format=disk_format,
            variables=folder / "uefi-variables.fd",
            console=folder / "console.log",
            qmp=short / "qmp",
            tpm_state=state,
            tpm_socket=short / "swtpm",
        )
        shutil.copyfile(PLATFORMS[self.architecture].variables, files.variables)
        files.console.write_bytes(b"")
        return files

    def _start(self, files: Files) -> None:
        if self.hardware.tpm:
            self._spawn(swtpm_command(files))
            self._wait(files.tpm_socket.exists, END_SECONDS, "the software TPM to start")
        self.ssh_port = _free_port()
        command = qemu_command(self.hardware, self.architecture, files, self.ssh_port, kvm=self.kvm)
        self._spawn(command)
        self._wait(files.qmp.exists, END_SECONDS, "QEMU to start")

    def _spawn(self, command: Sequence[str]) -> None:
        talk = self._short() / f"{command[0]}.log"
        with talk.open("wb") as output:
            child = subprocess.Popen(
                bound_command(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for this process, which then ends the machine in order
                start_new_session=True,
            )
        self._children.append(child)

    def _wait(
        self, reached: Callable[[], bool], timeout: float, what: str, *, end: bool = False
    ) -> None:
        deadline = time.monotonic() + timeout
        while not reached():
            if not end and not self.is_running():
                raise MachineError(f"the machine ended while waiting for {what}{self._last()}")
            if time.monotonic() > deadline:
                raise MachineError(f"no sign of {what} within {timeout:.0f} s{self._last()}")
            time.sleep(POLL_SECONDS)

    def _last(self) -> str:
        said = [log.read_text("utf-8", "replace") for log in sorted(self._short().glob("*.log"))]
        if self._files is not None and self._files.console.is_file():
            said.append(self._files.console.read_text("utf-8", "replace"))
        lines = "\n".join(said).replace("\r", "").strip().splitlines()[-SHOWN_CONSOLE_LINES:]
        return "".join(f"\n    {line}" for line in lines)

    def _qmp(self, name: str, arguments: dict[str, Any]) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(END_SECONDS)
            connection.connect(str(self._running().qmp))
            stream = connection.makefile("rw", encoding="utf-8")
            stream.readline()
            for request in (
                {"execute": "qmp_capabilities"},
                {"execute": name, "arguments": arguments},
            ):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                answer: dict[str, Any] = {}
                while not {"return", "error"} & answer.keys():
                    answer = json.loads(stream.readline())
                if "error" in answer:
                    raise MachineError(f"QEMU refused {name}: {answer['error']['desc']}")

    def _running(self) -> Files:
        if self._files is None:
            raise MachineError("the machine is not running; use it as a context manager")
        return self._files

    def _short(self) -> Path:
        if self._temporary is None:
            raise MachineError("the machine is not running; use it as a context manager")
        return self._temporary

    def _clean_up(self) -> None:
        for child in reversed(self._children):
            child.terminate()
            try:
                child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()
        self._files = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary)
            self._temporary = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _sweep() -> None:
    """Remove the folders of machines whose process was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*-*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
