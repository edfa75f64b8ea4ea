"""What the management API tells about the machine.

Read from system calls, /sys and /etc: edged sees only processes in /proc, no /proc/stat, so what is
in use is told by the root of the control groups. Where that is hidden too, the processor use is 0.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from skerry import __version__
from skerry.engine.errors import EngineError
from skerry.engine.model import Engine

_VIRTUAL_VENDORS = ("qemu", "vmware", "microsoft corporation", "innotek", "xen", "amazon ec2")
_SAMPLES_AT_ONCE = 16
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
    memory = machine.text("sys/fs/cgroup/memory.stat")

    def sample(container: str) -> dict[str, object] | None:
        # one that has ended meanwhile, or an engine that is away, is no reason to say nothing
        with contextlib.suppress(EngineError):
            return engine.stats(container)
        return None

    # the engine looks at each container for a second or two
    with ThreadPoolExecutor(_SAMPLES_AT_ONCE) as pool:
        stats = [found for found in pool.map(sample, containers) if found is not None]
    return {
        "host_uptime": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "process_uptime": _process_uptime(machine),
        "used_cpu": _used_cpu(machine),
        "used_ram": max(total - _pages("SC_AVPHYS_PAGES") - _reclaimable(memory), 0),
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


def _used_cpu(machine: Machine) -> float:
    """Return the percentage of processor time since boot that was not idle."""
    fields = machine.text("proc/stat").partition("\n")[0].split()
    if len(fields) >= 6 and fields[0] == "cpu":
        times = [int(field) for field in fields[1:9]]
        idle = times[3] + times[4]
        return round(100 * (1 - idle / max(sum(times), 1)), 2)
    busy = _fields(machine.text("sys/fs/cgroup/cpu.stat")).get("usage_usec", 0) / 1e6
    whole = time.clock_gettime(time.CLOCK_BOOTTIME) * (os.cpu_count() or 1)
    return round(min(100 * busy / whole, 100.0), 2)


def _reclaimable(memory_stat: str) -> int:
    """Return the bytes that hold copies of files: in use, but free for whoever needs them."""
    found = _fields(memory_stat)
    return sum(found.get(name, 0) for name in ("active_file", "inactive_file", "slab_reclaimable"))


def _fields(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _pages(name: str) -> int:
    return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
