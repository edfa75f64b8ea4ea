"""What runs out: space, inodes, memory; and ports that somebody else holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skerry.agent.deployment import parse_deployment
from skerry.agent.errors import AgentError
from skerry.check.appliance import Appliance
from skerry.check.checks.modules import deployment_of
from skerry.check.model import Check, Finding, Fix, Section, error, ignored, ok, warning, worst
from skerry.check.words import size
from skerry.engine.errors import EngineError
from skerry.workloads.deployment import DeploymentError

_LEAST_BYTES, _AMPLE_BYTES = 256 << 20, 8 << 30
"""Less is always too little; with more a large disk is not nearly full, whatever its share."""

_LOW_SHARE = 0.10
_NONE_SHARE = 0.02
_LISTEN = "0A"
_JOURNALD = "systemd-journald.service"
_JOURNAL_BYTES = 1 << 30
"""Far more than the appliance lets it take (128 MiB)."""

_LEAST_MEMORY_KIB = 64 << 10


def _folders(appliance: Appliance) -> dict[str, Path]:
    docker = appliance.root / "var/lib/docker"
    found = {
        "Skerry's state": appliance.paths.state,
        "the container engine's data": docker,
        "the configuration": appliance.paths.etc,
    }
    return {what: path for what, path in found.items() if path.is_dir()}


def _space(appliance: Appliance) -> Finding:
    found, lines = [], []
    for what, path in _folders(appliance).items():
        usage = appliance.usage(path)
        if not usage.total_bytes:
            continue
        share = usage.free_bytes / usage.total_bytes
        told = f"{path}: {size(usage.free_bytes)} of {size(usage.total_bytes)} free"
        lines.append(told)
        fix = Fix("dropped old journals", lambda: _vacuum(appliance))
        remedy = "see what takes it: docker system df; journalctl --disk-usage; skerry check --fix"
        is_scarce = usage.free_bytes < _AMPLE_BYTES
        if (share < _NONE_SHARE and is_scarce) or usage.free_bytes < _LEAST_BYTES // 8:
            found.append(error(f"the disk with {what} is full", remedy, told, fix=fix))
        elif (share < _LOW_SHARE and is_scarce) or usage.free_bytes < _LEAST_BYTES:
            found.append(warning(f"the disk with {what} is nearly full", remedy, told, fix=fix))
    return worst(found, ok(*lines))


def _vacuum(appliance: Appliance) -> None:
    appliance.units.run("journalctl", "--vacuum-size=64M")


def _inodes(appliance: Appliance) -> Finding:
    found, lines = [], []
    for what, path in _folders(appliance).items():
        usage = appliance.usage(path)
        if not usage.total_inodes:
            continue  # a file system without a table of them
        share = usage.free_inodes / usage.total_inodes
        told = f"{path}: {usage.free_inodes} of {usage.total_inodes} inodes free"
        lines.append(told)
        cause = f"the disk with {what} can hold {'no' if share < _NONE_SHARE else 'few'} more files"
        remedy = (
            "find the folder with the many small files: sudo du --inodes -x -d 3 /var | sort -n"
        )
        if share < _NONE_SHARE:
            found.append(error(cause, remedy, told))
        elif share < _LOW_SHARE:
            found.append(warning(cause, remedy, told))
    return worst(found, ok(*lines))


def _memory(appliance: Appliance) -> Finding:
    fields = {}
    for line in appliance.text("proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0]) if value.split() else 0
    total, free = fields.get("MemTotal", 0), fields.get("MemAvailable", 0)
    if not total:
        return ignored("the kernel does not tell")
    told = f"{size(free << 10)} of {size(total << 10)} available"
    if free < _LEAST_MEMORY_KIB or free < total * _NONE_SHARE:
        return warning(
            "there is hardly any memory left; the kernel will end a module",
            "see who uses it: docker stats --no-stream; limit it with HostConfig.Memory",
            told,
        )
    return ok(told)


def _ports(appliance: Appliance) -> Finding:
    wanted = dict(_wanted_ports(appliance))
    if not wanted:
        return ignored("no module publishes a port")
    held = _published(appliance)
    found = []
    for (port, kind), module in sorted(wanted.items()):
        owner = held.get((port, kind))
        if owner == module:
            continue
        if owner is not None:
            found.append(_taken(port, kind, module, f"container {owner} publishes it"))
        elif (port, kind) in set(listening(appliance)):
            who = f"see who: sudo ss -lnp 'sport = :{port}'"
            found.append(_taken(port, kind, module, f"a program of the host listens on it; {who}"))
    return worst(found, ok(*(f"{port}/{kind} {module}" for (port, kind), module in wanted.items())))


def _taken(port: int, kind: str, module: str, who: str) -> Finding:
    return error(
        f"module {module} cannot have port {port}/{kind} of the host: {who}",
        f"give {module} another port (createOptions, HostConfig.PortBindings) or end the other",
    )


def _wanted_ports(appliance: Appliance) -> Iterator[tuple[tuple[int, str], str]]:
    """Yield the ports of the host that the deployment publishes, with their modules."""
    try:
        document = deployment_of(appliance)
        deployment = parse_deployment(document) if document is not None else None
    except (DeploymentError, AgentError):
        return  # manifest-valid says so
    modules = deployment.modules if deployment is not None else {}
    for name, module in modules.items():
        host = module.create_options.get("HostConfig")
        for port in _bindings(host if isinstance(host, dict) else {}):
            yield port, name


def _bindings(host: dict[str, Any]) -> Iterator[tuple[int, str]]:
    for inside, holders in (host.get("PortBindings") or {}).items():
        for holder in holders or []:
            port = str(holder.get("HostPort", "")) if isinstance(holder, dict) else ""
            if port.isdecimal():
                yield int(port), str(inside).partition("/")[2] or "tcp"


def _published(appliance: Appliance) -> dict[tuple[int, str], str]:
    try:
        modules = appliance.modules()
    except EngineError:
        return {}
    return {
        port: name
        for name, module in modules.items()
        if module["State"].get("Status") == "running"
        for port in _bindings(module.get("HostConfig") or {})
    }


def listening(appliance: Appliance) -> Iterator[tuple[int, str]]:
    """Yield the ports on which somebody listens, from the kernel's tables."""
    for file, kind in (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp")):
        for line in appliance.text(f"proc/net/{file}").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and (kind == "udp" or fields[3] == _LISTEN):
                yield int(fields[1].rpartition(":")[2], 16), kind


def _journal(appliance: Appliance) -> Finding:
    unit = appliance.units.states((_JOURNALD,)).get(_JOURNALD)
    if unit is not None and unit.active not in {"active", "activating", "reloading"}:
        return error(
            f"the journal is {unit.active}: what services say is lost",
            "skerry check --fix, or: sudo systemctl restart systemd-journald",
            fix=Fix("started the journal", lambda: _start_journal(appliance)),
        )
    used = sum(_bytes_of(path) for path in (appliance.root / "var/log/journal").glob("*/*"))
    told = f"{size(used)} in /var/log/journal"
    if used > _JOURNAL_BYTES:
        return warning(
            f"the journal has grown beyond {size(_JOURNAL_BYTES)}",
            "skerry check --fix drops its oldest part; set SystemMaxUse in /etc/systemd/"
            "journald.conf.d/ so that it stays small",
            told,
            fix=Fix("dropped old journals", lambda: _vacuum(appliance)),
        )
    return ok(told)


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # rotated away


def _start_journal(appliance: Appliance) -> None:
    appliance.units.run("systemctl", "restart", "systemd-journald.socket", _JOURNALD)


CHECKS = (
    Check("journal", Section.APPLIANCE, "the journal is kept, within bounds", _journal),
    Check("disk-space", Section.APPLIANCE, "there is space on the disk", _space),
    Check("disk-inodes", Section.APPLIANCE, "the disk can hold more files", _inodes),
    Check("memory", Section.APPLIANCE, "there is memory left", _memory),
    Check("port-conflicts", Section.APPLIANCE, "modules can have their ports", _ports),
)
