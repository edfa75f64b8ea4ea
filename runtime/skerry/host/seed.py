"""Finds the seed among the disks of this machine, mounts it, and puts name and network in force."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skerry.base.errors import SkerryError

LABEL = "SKERRY-SEED"
MOUNT_POINT = Path("/run/seed")
_SAFE = "nosuid,nodev,noexec"
_SECONDS = 60
_HOSTNAME_CHARACTERS = 64  # sethostname(2)


def find_seeds(sys_block: Path = Path("/sys/class/block")) -> list[str]:
    """Return the devices with the label of a seed; what can be pulled out comes first and wins."""
    # the cache of blkid may be of another boot; status 2 says that there is none
    devices = _run("blkid", "-c", "/dev/null", "-t", f"LABEL={LABEL}", "-o", "device", codes=(0, 2))
    return sorted(devices.split(), key=lambda device: (not _removable(device, sys_block), device))


def _removable(device: str, sys_block: Path) -> bool:
    """Tell whether a device can be pulled out; a USB disk counts although it says it cannot."""
    block = (sys_block / Path(device).name).resolve()
    disk = block.parent if (block / "partition").is_file() else block
    flag = disk / "removable"
    return "/usb" in str(block) or (flag.is_file() and flag.read_text().strip() == "1")


@contextmanager
def mounted(device: str, mount_point: Path = MOUNT_POINT) -> Iterator[Path]:
    """Mount a seed read-only for the time of the block."""
    mount_point.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "vfat", "-o", f"ro,{_SAFE},umask=0077", device, str(mount_point))
    try:
        yield mount_point
    finally:
        _run("umount", str(mount_point))
        mount_point.rmdir()


@contextmanager
def writable(mount_point: Path) -> Iterator[None]:
    """Let a mounted seed be written for the time of the block."""
    _run("mount", "-o", f"remount,rw,sync,{_SAFE}", str(mount_point))
    try:
        yield
    finally:
        _run("mount", "-o", f"remount,ro,{_SAFE}", str(mount_point))


def put_in_force(etc: Path, networks: Path = Path("/run/systemd/network")) -> None:
    """Give the machine the name and the network files that a seed has brought."""
    hostname = etc / "hostname"
    if hostname.is_file():
        name = hostname.read_text("ascii").strip()
        # the kernel takes fewer characters than DNS; the first label still tells the device
        name = name if len(name) <= _HOSTNAME_CHARACTERS else name.partition(".")[0]
        if name != socket.gethostname():
            _set_hostname(name)
    for path in sorted((etc / "network").glob("*.network")):
        networks.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, networks / path.name)
        (networks / path.name).chmod(0o644)


def _set_hostname(name: str) -> None:
    try:
        socket.sethostname(name)
    except OSError as error:
        raise SkerryError(f"host name {name!r} was not set: {error}") from error


def _run(*command: str, codes: tuple[int, ...] = (0,)) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SkerryError(f"{command[0]} failed: {error}") from error
    if done.returncode not in codes:
        raise SkerryError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
