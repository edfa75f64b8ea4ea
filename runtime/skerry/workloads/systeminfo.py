"""What the management API tells about the machine.

Read from system calls, /sys and /etc: edged sees only processes in /proc, no /proc/stat. Where the
kernel's figures are hidden, the processor use is 0.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from skerry import __version__
from skerry.engine.errors import EngineError
from skerry.engine.model import Engine

_VIRTUAL_VENDORS = ("qemu", "vmware", "microsoft corporation", "innotek", "xen", "amazon ec2")
_NO_DISK = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "tmpfs", "overlay"})


@dataclass(frozen=True)
class Machine:
    """Where the facts lie; a test gives another root."""

    root: Path = Path("/")

    def text(self, path: str) -> str:
        """Return a one-line file, empty where there is none."""
        try:
            return (self.root / path).read_text("utf-8", "replace").strip()
        except OSError:
            return ""

    def os_release(self) -> dict[str, str]:
        """Return the fields of os-release, unquoted."""
        lines = (self.text("etc/os-release") or self.text("usr/lib/os-release")).splitlines()
        pairs = (line.partition("=") for line in lines if "=" in line)
        return {name: value.strip("\"'") for name, _, value in pairs}


@dataclass(frozen=True)
class Disk:
    """A mounted file system on a disk."""

    device: str
    mount_point: str
    file_system: str


def server_version(engine: Engine) -> str:
    """Return the version of the engine, empty while it does not answer."""
    try:
        return engine.info().server_version
    except EngineError:
        return ""


def system_info(
    server_version: str, additional: Mapping[str, str], machine: Machine | None = None
) -> dict[str, object]:
    """Return SystemInfo; `server_version` is the engine's."""
    machine = machine or Machine()
    release = machine.os_release()
    kernel = os.uname()
    vendor = machine.text("sys/class/dmi/id/sys_vendor")
    return {
        "osType": kernel.sysname,
        "kernel_release": kernel.release,
        "kernel_version": kernel.version,
        "operating_system": release.get("ID", ""),
        "operating_system_version": release.get("VERSION_ID", ""),
        "operating_system_variant": release.get("VARIANT_ID", ""),
        "operating_system_build": release.get("BUILD_ID", ""),
        "architecture": kernel.machine,
        "cpus": os.cpu_count() or 0,
        "total_memory": _pages("SC_PHYS_PAGES"),
        "virtualized": _virtualized(vendor),
        "product_name": machine.text("sys/class/dmi/id/product_name"),
        "system_vendor": vendor,
        "version": __version__,
        "server_version": server_version,
        "provisioning": {
            "type": "ProvisioningType",
            "dynamicReprovisioning": False,
            "alwaysReprovisionOnStartup": False,
        },
        **additional,
    }


def resources(
    engine: Engine, containers: Iterable[str], machine: Machine | None = None
) -> dict[str, object]:
    """Return what is in use: time, memory, disks and the engine's own figures of each container."""
    machine = machine or Machine()
    total = _pages("SC_PHYS_PAGES")
    stats = []
    for container in containers:
        # one that has ended meanwhile, or an engine that is away, is no reason to say nothing
        with contextlib.suppress(EngineError):
            stats.append(engine.stats(container))
    return {
        "host_uptime": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "process_uptime": _process_uptime(machine),
        "used_cpu": _used_cpu(machine.text("proc/stat")),
        "used_ram": total - _pages("SC_AVPHYS_PAGES"),
        "total_ram": total,
        "disks": [_usage(disk) for disk in disks(machine.text("proc/self/mounts"))],
        "docker_stats": json.dumps(stats, separators=(",", ":")),
    }


def disks(mounts: str, is_device: Callable[[str], bool] = os.path.exists) -> list[Disk]:
    """Return the disks in /proc/self/mounts, each once, by its first mount point."""
    found: dict[str, Disk] = {}
    for line in mounts.splitlines():
        device, mount_point, file_system = (_unescaped(part) for part in line.split(" ")[:3])
        known = device in found or file_system in _NO_DISK
        if device.startswith("/dev/") and not known and is_device(mount_point):
            found[device] = Disk(device, mount_point, file_system)
    return list(found.values())


def _usage(disk: Disk) -> dict[str, object]:
    try:
        size = os.statvfs(disk.mount_point)
        available, total = size.f_bavail * size.f_frsize, size.f_blocks * size.f_frsize
    except OSError:
        available, total = 0, 0
    return {
        "name": disk.device,
        "available_space": available,
        "total_space": total,
        "file_system": disk.file_system,
        "file_type": "Unknown",
    }


def _unescaped(text: str) -> str:
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _virtualized(vendor: str) -> str:
    if not vendor:
        return "unknown"
    return "yes" if vendor.lower().startswith(_VIRTUAL_VENDORS) else "no"


def _process_uptime(machine: Machine) -> int:
    fields = machine.text("proc/self/stat").rpartition(")")[2].split()
    if not fields:
        return 0
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return max(round(time.clock_gettime(time.CLOCK_BOOTTIME) - started), 0)


def _used_cpu(stat: str) -> float:
    """Return the percentage of processor time since boot that was not idle."""
    fields = stat.partition("\n")[0].split()
    if len(fields) < 6 or fields[0] != "cpu":
        return 0.0
    times = [int(field) for field in fields[1:9]]
    idle = times[3] + times[4]
    return round(100 * (1 - idle / max(sum(times), 1)), 2)


def _pages(name: str) -> int:
    return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
