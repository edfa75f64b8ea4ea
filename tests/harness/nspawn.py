"""A Debian 13 device: systemd, sshd and Moby in a systemd-nspawn container, reached over SSH.

The machine has network, mount and process namespaces of its own; its only interface is its
loopback. Callers enter its network namespace (`Device.command`) and talk to 127.0.0.1 there, so
nothing of it is visible outside. The host key is pinned. Everything ends with the nspawn process,
by its id: processes, mounts, namespaces.

On a host with cgroup v1 systemd 257 needs to be told to use it, and Moby needs the controllers
writable; on a host with cgroup v2 both are so by themselves.
"""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.tree import Overlay, base_tree, mounted

USER = "tech"
ALIAS = "device"
BOOT_SECONDS = 120
STOP_SECONDS = 30
NSPAWN = (
    "systemd-nspawn",
    "--quiet",
    "--boot",
    "--register=no",
    "--keep-unit",
    "--private-network",
    "--capability=CAP_SYS_ADMIN,CAP_NET_ADMIN,CAP_MKNOD",
    "--system-call-filter=add_key keyctl bpf",
    "--console=pipe",
)
NAMESPACES = (
    "unshare",
    "--mount",
    "--propagation=private",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)
ENGINE = ("docker", "containerd")
LEGACY = ("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1", "systemd.unified_cgroup_hierarchy=0")
CGROUP_UNIT = """[Unit]
Description=Control groups writable, for the container engine in this test device
DefaultDependencies=no
Before=sysinit.target docker.service containerd.service
ConditionPathIsMountPoint=/sys/fs/cgroup/memory

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for c in cpu cpuacct cpuset memory devices freezer blkio pids; do \\
  mount -o remount,rw,bind /sys/fs/cgroup/$$c; done'

[Install]
WantedBy=sysinit.target
"""


class DeviceError(RuntimeError):
    """The device did not come up; the message ends with its console."""


@dataclass(frozen=True)
class Device:
    """A running device and how to reach it."""

    leader: int
    overlay: Overlay
    ssh_config: Path
    private_key: Path

    def command(self, command: Sequence[str]) -> list[str]:
        """Return `command` wrapped to run on this host, in the device's network."""
        return ["nsenter", "--target", str(self.leader), "--net", "--", *command]

    def run(self, *command: str, timeout_seconds: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a command in the device as root, beside SSH."""
        return subprocess.run(
            ["nsenter", "--target", str(self.leader), "--all", "--", *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def wait_for(self, *command: str, seconds: float = 60) -> None:
        """Wait until a command in the device succeeds."""
        deadline = time.monotonic() + seconds
        while (done := self.run(*command)).returncode != 0:
            if time.monotonic() > deadline:
                raise DeviceError(f"{shlex.join(command)}: {done.stdout}{done.stderr}")
            time.sleep(0.2)


@contextmanager
def running_device(work: Path) -> Iterator[Device]:
    """Boot a fresh device whose changes go to `work`; it is gone afterwards."""
    overlay = Overlay(base_tree(), work)
    overlay.make_folders()
    key = work / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(key)],
        check=True,
        timeout=30,
    )
    with mounted(overlay) as root:
        prepare(root, key.with_suffix(".pub").read_text())
        host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    known_hosts = work / "known_hosts"
    known_hosts.write_text(f"127.0.0.1 {host_key}")
    config = work / "ssh_config"
    config.write_text(ssh_config(key, known_hosts))
    with (work / "console").open("w") as console, nspawn(overlay, console.fileno()) as process:
        device = Device(leader_of(process, work), overlay, config, key)
        device.wait_for("systemctl", "is-active", "ssh.service", seconds=BOOT_SECONDS)
        yield device


def prepare(root: Path, public_key: str) -> None:
    """Turn the base tree into a plain device: an administrator with a key and sudo."""
    in_root = ["chroot", str(root)]
    subprocess.run([*in_root, "useradd", "-m", "-s", "/bin/bash", USER], check=True, timeout=30)
    home = root / "home" / USER / ".ssh"
    home.mkdir(mode=0o700)
    (home / "authorized_keys").write_text(public_key)
    subprocess.run([*in_root, "chown", "-R", f"{USER}:", f"/home/{USER}"], check=True, timeout=30)
    sudoers = root / "etc/sudoers.d/test"
    sudoers.write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    sudoers.chmod(0o440)
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").write_text("test-device\n")
    unit = root / "etc/systemd/system/test-cgroups.service"
    unit.write_text(CGROUP_UNIT)
    wants = root / "etc/systemd/system/sysinit.target.wants"
    (wants / unit.name).symlink_to(Path("/") / unit.relative_to(root))


def ssh_config(key: Path, known_hosts: Path) -> str:
    """Return the whole SSH configuration for the device; nothing of the user's is read."""
    options = {
        "HostName": "127.0.0.1",
        "User": USER,
        "IdentityFile": key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    return "\n".join([f"Host {ALIAS}", *(f"  {name} {value}" for name, value in options.items())])


@contextmanager
def nspawn(overlay: Overlay, console: int) -> "Iterator[subprocess.Popen[bytes]]":
    """Run the machine once; the engine's folders are gone afterwards."""
    try:
        with boot(overlay, console) as process:
            yield process
    finally:
        forget_engine(overlay)


def forget_engine(overlay: Overlay) -> None:
    """Remove what the engine has kept."""
    for name in ENGINE:
        shutil.rmtree(overlay.work / name, ignore_errors=True)


@contextmanager
def boot(overlay: Overlay, console: int) -> "Iterator[subprocess.Popen[bytes]]":
    """Run the machine; its overlay and the engine's folders are mounted in a namespace of it.

    It ends with its power-off or reboot; booted again it finds what it has kept.
    """
    binds = []
    for name in ENGINE:
        # the engine's own overlay does not work on top of an overlay
        folder = overlay.work / name
        folder.mkdir(exist_ok=True)
        binds.append(f"--bind={folder}:/var/lib/{name}")
    legacy = [] if Path("/sys/fs/cgroup/cgroup.controllers").exists() else LEGACY
    machine = [*NSPAWN, f"--directory={overlay.root}", *binds, *legacy]
    script = f'{overlay.mount_command()} && exec "$@"'
    # a test run that is killed takes its device along: the kernel ends what is in a PID namespace
    command = ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, "sh", "-c", script, "sh", *machine]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End the machine in order, or by force when it does not end in time."""
    for machine in children_of(process.pid):
        with suppress(ProcessLookupError):
            os.kill(machine, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def leader_of(process: "subprocess.Popen[bytes]", work: Path) -> int:
    """Return the id of the machine's process 1 as this host sees it."""
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        for machine in children_of(process.pid):
            for child in children_of(machine):
                if is_first_process(child):
                    return child
        time.sleep(0.05)
    console = (work / "console").read_text(errors="replace")[-2000:]
    raise DeviceError(f"the device did not start:\n{console}")


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def is_first_process(pid: int) -> bool:
    """Tell whether a process is process 1 of its namespace and already runs systemd."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        program = Path(f"/proc/{pid}/exe").readlink()
    except OSError:
        return False
    ids = status.partition("NSpid:")[2].splitlines()[0].split()
    return ids[-1] == "1" and program.name == "systemd"
