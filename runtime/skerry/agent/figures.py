"""Which figures the agent has, and what they are taken from: steps, rounds, edged's resources."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from skerry.agent.model import Deployment, RuntimeStatus, Status
from skerry.agent.transaction import Entry, Outcome
from skerry.module.metrics import Registry

_RESOURCES_SECONDS = 60.0
_HOST = "host"
_NANOSECONDS = 1e9


class Figures:
    """The figures of one agent."""

    def __init__(
        self, hub: str, device: str, version: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        common = {"iothub": hub, "edge_device": device, "instance_number": str(uuid.uuid4())}
        self.registry = Registry(common, monotonic)
        self._monotonic = monotonic
        self._versions: dict[str, str] = {}
        self._looked_at: float | None = None
        self._asked_at: float | None = None
        self._last: Entry | None = None
        self._knows_host = False
        self._processor: dict[str, tuple[float, float]] = {}
        make = self.registry
        self._correct = make.gauge(
            "edgeAgent_total_time_running_correctly_seconds", "Time that a module ran as it should"
        )
        self._expected = make.gauge(
            "edgeAgent_total_time_expected_running_seconds", "Time that a module should have run"
        )
        self._starts = make.counter("edgeAgent_module_start_total", "Starts of a module")
        self._stops = make.counter("edgeAgent_module_stop_total", "Stops of a module")
        self._prepared = make.counter(
            "edgeAgent_module_prepare_update_total", "Images made available for a module"
        )
        self._latency = make.summary(
            "edgeAgent_command_latency_seconds", "How long a command to the engine took"
        )
        self._syncs = make.counter(
            "edgeAgent_iothub_syncs_total", "Attempts to get the twin, well or not"
        )
        self._failed_syncs = make.counter(
            "edgeAgent_unsuccessful_iothub_syncs_total", "Attempts to get the twin that failed"
        )
        self._deployment = make.summary(
            "edgeAgent_deployment_time_seconds", "From a deployment's arrival to its commit"
        )
        # in lower case upstream as well: dashboards know it by this name
        self._methods = make.counter(
            "edgeagent_direct_method_invocations_count", "Built-in direct methods called"
        )
        self._host_uptime = make.gauge("edgeAgent_host_uptime_seconds", "Since the host started")
        self._edged_uptime = make.gauge("edgeAgent_iotedged_uptime_seconds", "Since edged started")
        self._disk_free = make.gauge("edgeAgent_available_disk_space_bytes", "Free on a disk")
        self._disk_size = make.gauge("edgeAgent_total_disk_space_bytes", "Size of a disk")
        self._memory = make.gauge("edgeAgent_used_memory_bytes", "Memory in use")
        self._memory_size = make.gauge("edgeAgent_total_memory_bytes", "Memory there is")
        self._cpu = make.summary("edgeAgent_used_cpu_percent", "Processor time in use")
        self._by_module = {
            what: make.gauge(f"edgeAgent_{name}", text)
            for what, name, text in (
                ("pids", "created_pids_total", "Processes of a module"),
                ("in", "total_network_in_bytes", "Received by a module"),
                ("out", "total_network_out_bytes", "Sent by a module"),
                ("read", "total_disk_read_bytes", "Read by a module"),
                ("write", "total_disk_write_bytes", "Written by a module"),
            )
        }
        self._metadata = make.gauge("edgeAgent_metadata", "What this agent is")
        self._version = version
        self._tell_host("")

    def called(self, method: str) -> None:
        """Count a direct method."""
        self._methods.add(method_name=method)

    def synced(self, well: bool) -> None:
        """Count an attempt to get the twin."""
        self._syncs.add()
        if not well:
            self._failed_syncs.add()

    @contextmanager
    def command(self, command: str, module: str) -> Iterator[None]:
        """Measure a command; counted when it went well."""
        began = self._monotonic()
        yield
        self._latency.observe(self._monotonic() - began, command=command)
        labels = {"module_name": module, "module_version": self._versions.get(module, "")}
        counted = {
            "start": self._starts,
            "restart": self._starts,
            "stop": self._stops,
            "prepareUpdate": self._prepared,
        }
        if command in counted:
            counted[command].add(**labels)

    def look(
        self,
        deployment: Deployment,
        states: Mapping[str, RuntimeStatus],
        history: Sequence[Entry],
    ) -> None:
        """Take what a round found; the time since the last one counts for every module."""
        now = self._monotonic()
        is_first = self._looked_at is None
        passed = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        self._versions = {name: module.version for name, module in deployment.modules.items()}
        for name, module in deployment.modules.items():
            if module.status is Status.RUNNING:
                is_well = states.get(name) is RuntimeStatus.RUNNING
                self._expected.add(passed, module_name=name)
                self._correct.add(passed if is_well else 0.0, module_name=name)
        last = history[-1] if history else None
        if last is not None and last != self._last:
            if last.outcome is Outcome.COMMITTED and not is_first:
                self._deployment.observe((last.ended - last.began).total_seconds())
            self._last = last

    def text(
        self,
        resources: Callable[[], Mapping[str, object]],
        host: Callable[[], Mapping[str, object]],
    ) -> str:
        """Return all figures; both are asked at most once a minute, `host` until it answers."""
        now = self._monotonic()
        if self._asked_at is None or now - self._asked_at >= _RESOURCES_SECONDS:
            self._asked_at = now
            self.take_resources(resources())
            if not self._knows_host and (found := host()):
                self._knows_host = True
                self._tell_host(json.dumps(found, separators=(",", ":")))
        return self.registry.text()

    def _tell_host(self, information: str) -> None:
        self._metadata.clear()
        self._metadata.set(
            1,
            edge_agent_version=self._version,
            experimental_features="{}",
            host_information=information,
        )

    def take_resources(self, found: Mapping[str, object]) -> None:
        """Take SystemResources of the management API."""
        if not found:
            return
        self._host_uptime.set(_number(found.get("host_uptime")))
        self._edged_uptime.set(_number(found.get("process_uptime")))
        self._cpu.observe(_number(found.get("used_cpu")), module_name=_HOST)
        self._memory.clear()
        self._memory_size.clear()
        self._memory.set(_number(found.get("used_ram")), module_name=_HOST)
        self._memory_size.set(_number(found.get("total_ram")), module_name=_HOST)
        for disk in _tables(found.get("disks")):
            labels = {
                "disk_name": str(disk.get("name", "")),
                "disk_filesystem": str(disk.get("file_system", "")),
                "disk_filetype": str(disk.get("file_type", "")),
            }
            self._disk_free.set(_number(disk.get("available_space")), **labels)
            self._disk_size.set(_number(disk.get("total_space")), **labels)
        for metric in self._by_module.values():
            metric.clear()
        for stats in _tables(json.loads(str(found.get("docker_stats") or "[]"))):
            self._take_stats(stats)

    def _take_stats(self, stats: Mapping[str, object]) -> None:
        name = str(stats.get("name", "")).lstrip("/")
        memory, networks = (
            _table(stats, "memory_stats"),
            _tables([*_table(stats, "networks").values()]),
        )
        disk = _tables(_table(stats, "blkio_stats").get("io_service_bytes_recursive"))
        self._memory.set(_number(memory.get("usage")), module_name=name)
        self._memory_size.set(_number(memory.get("limit")), module_name=name)
        figures = {
            "pids": _number(_table(stats, "pids_stats").get("current")),
            "in": sum(_number(one.get("rx_bytes")) for one in networks),
            "out": sum(_number(one.get("tx_bytes")) for one in networks),
            **{
                way: sum(_number(e.get("value")) for e in disk if str(e.get("op")).lower() == way)
                for way in ("read", "write")
            },
        }
        for what, value in figures.items():
            self._by_module[what].set(value, module_name=name)
        used = _number(_table(_table(stats, "cpu_stats"), "cpu_usage").get("total_usage"))
        used, now = used / _NANOSECONDS, self._monotonic()
        before = self._processor.get(name)
        self._processor[name] = (used, now)
        if before is not None and now > before[1] and used >= before[0]:
            self._cpu.observe(100 * (used - before[0]) / (now - before[1]), module_name=name)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _table(holder: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _tables(value: object) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
