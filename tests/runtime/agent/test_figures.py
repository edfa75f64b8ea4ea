"""The agent's figures: their names, their text form, and where they come from."""

import http.client
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.edged import VERSION, FakeEdged, VirtualClock
from harness.agents import Site, module
from skerry.agent.figures import Figures
from skerry.agent.metered import MeteredEdged
from skerry.agent.model import Deployment, RuntimeStatus, Wanted
from skerry.agent.transaction import Entry, Outcome
from skerry.base.log import get_logger
from skerry.module.metrics_server import serve_metrics

NAMES = {
    "edgeAgent_total_time_running_correctly_seconds",
    "edgeAgent_total_time_expected_running_seconds",
    "edgeAgent_module_start_total",
    "edgeAgent_module_stop_total",
    "edgeAgent_module_prepare_update_total",
    "edgeAgent_command_latency_seconds",
    "edgeAgent_iothub_syncs_total",
    "edgeAgent_unsuccessful_iothub_syncs_total",
    "edgeAgent_deployment_time_seconds",
    "edgeagent_direct_method_invocations_count",
    "edgeAgent_host_uptime_seconds",
    "edgeAgent_iotedged_uptime_seconds",
    "edgeAgent_available_disk_space_bytes",
    "edgeAgent_total_disk_space_bytes",
    "edgeAgent_used_memory_bytes",
    "edgeAgent_total_memory_bytes",
    "edgeAgent_used_cpu_percent",
    "edgeAgent_created_pids_total",
    "edgeAgent_total_network_in_bytes",
    "edgeAgent_total_network_out_bytes",
    "edgeAgent_total_disk_read_bytes",
    "edgeAgent_total_disk_write_bytes",
    "edgeAgent_metadata",
}
"""azure-iot-edge.md §5.7: scrapers know these, the one in lower case too."""

STATS = {
    "name": "/sensor",
    "memory_stats": {"usage": 5, "limit": 9},
    "pids_stats": {"current": 3},
    "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
    "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 7}]},
    "cpu_stats": {"cpu_usage": {"total_usage": 1_000_000_000}},
}
RESOURCES = {
    "host_uptime": 100,
    "process_uptime": 50,
    "used_cpu": 12.5,
    "used_ram": 1000,
    "total_ram": 4000,
    "disks": [
        {
            "name": "/dev/sda",
            "available_space": 1,
            "total_space": 2,
            "file_system": "ext4",
            "file_type": "SSD",
        }
    ],
    "docker_stats": json.dumps([STATS]),
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def figures(clock: Clock) -> Figures:
    return Figures("hub", 'd"1', "0.1.0", clock)


def values(text: str) -> dict[str, float]:
    """Return every series without the labels that all have."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            own = re.sub(r'(iothub|edge_device|instance_number)="(\\.|[^"])*",?', "", series)
            found[own.replace(",}", "}").replace("{}", "")] = float(value)
    return found


def test_all_of_upstreams_names_are_there(figures: Figures) -> None:
    """Each with its type, from the first scrape on."""
    text = figures.text(dict, dict)
    assert set(re.findall(r"^# TYPE (\S+) (?:counter|gauge|summary)$", text, re.MULTILINE)) == NAMES


def test_every_series_tells_whose_it_is(figures: Figures) -> None:
    """Values are escaped as the format wants it."""
    figures.called("ping")
    (line,) = [
        line for line in figures.text(dict, dict).splitlines() if line.startswith("edgeagent_")
    ]
    pattern = (
        r'edgeagent_direct_method_invocations_count\{iothub="hub",edge_device="d\\"1",'
        r'instance_number="[0-9a-f-]{36}",method_name="ping"\} 1'
    )
    assert re.fullmatch(pattern, line)


def test_the_host_is_told_once_edged_answers(figures: Figures, clock: Clock) -> None:
    """As upstream's JSON in a label; asked again while edged is away, and then no more."""
    answers: list[dict[str, object]] = [{}, {"architecture": "x86_64"}]
    assert 'host_information=""' in figures.text(dict, lambda: answers.pop(0))
    for _ in range(2):
        clock.now += 60
        text = figures.text(dict, lambda: answers.pop(0))
        told = [line for line in text.splitlines() if line.startswith("edgeAgent_metadata{")]
        assert len(told) == 1
        assert r'host_information="{\"architecture\":\"x86_64\"}"' in told[0]


def test_the_resources_of_machine_and_modules_are_told(figures: Figures, clock: Clock) -> None:
    """Asked at most once a minute; processor time is that between two looks."""
    asked = []

    def resources() -> dict[str, object]:
        asked.append(1)
        used = {"cpu_usage": {"total_usage": 31_000_000_000 if len(asked) > 1 else 1_000_000_000}}
        return {**RESOURCES, "docker_stats": json.dumps([{**STATS, "cpu_stats": used}])}

    for _ in range(3):
        text = figures.text(resources, dict)
        clock.now += 30
    assert len(asked) == 2
    found = values(text)
    expected = {
        "edgeAgent_host_uptime_seconds": 100,
        "edgeAgent_iotedged_uptime_seconds": 50,
        'edgeAgent_used_memory_bytes{module_name="host"}': 1000,
        'edgeAgent_used_memory_bytes{module_name="sensor"}': 5,
        'edgeAgent_total_memory_bytes{module_name="sensor"}': 9,
        'edgeAgent_created_pids_total{module_name="sensor"}': 3,
        'edgeAgent_total_network_in_bytes{module_name="sensor"}': 11,
        'edgeAgent_total_network_out_bytes{module_name="sensor"}': 22,
        'edgeAgent_total_disk_read_bytes{module_name="sensor"}': 7,
        'edgeAgent_total_disk_write_bytes{module_name="sensor"}': 0,
        'edgeAgent_used_cpu_percent_sum{module_name="sensor"}': 50,
        'edgeAgent_used_cpu_percent_count{module_name="host"}': 2,
        'edgeAgent_used_cpu_percent{module_name="host",quantile="0.5"}': 12.5,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_time_counts_for_every_module_that_shall_run(figures: Figures, clock: Clock) -> None:
    """As expected, and as right while it does."""
    deployment = Deployment({"a": Wanted("a", "a:1"), "b": Wanted("b", "b:1")})
    states = {"a": RuntimeStatus.RUNNING, "b": RuntimeStatus.BACKOFF}
    for _ in range(3):
        figures.look(deployment, states, ())
        clock.now += 5
    found = values(figures.text(dict, dict))
    for name, right in (("a", 10), ("b", 0)):
        assert found[f'edgeAgent_total_time_expected_running_seconds{{module_name="{name}"}}'] == 10
        key = f'edgeAgent_total_time_running_correctly_seconds{{module_name="{name}"}}'
        assert found[key] == right


def test_a_deployment_that_was_committed_is_timed(figures: Figures) -> None:
    """Not one of a former process, and not one that failed."""
    began = datetime(2026, 6, 1, tzinfo=UTC)
    old, good, bad = (
        Entry(digest, 1, began, began + timedelta(seconds=7), outcome)
        for digest, outcome in (
            ("old", Outcome.COMMITTED),
            ("good", Outcome.COMMITTED),
            ("bad", Outcome.ROLLED_BACK),
        )
    )
    for history in ((old,), (old, good), (old, good), (old, good, bad)):
        figures.look(Deployment({}), {}, history)
    found = values(figures.text(dict, dict))
    assert found["edgeAgent_deployment_time_seconds_count"] == 1
    assert found["edgeAgent_deployment_time_seconds_sum"] == 7


def test_syncs_are_counted(figures: Figures) -> None:
    """Those that failed among all."""
    for well in (True, False, True):
        figures.synced(well)
    found = values(figures.text(dict, dict))
    assert found["edgeAgent_iothub_syncs_total"] == 3
    assert found["edgeAgent_unsuccessful_iothub_syncs_total"] == 1


def test_commands_are_measured(tmp_path: Path, figures: Figures) -> None:
    """Those that fail are not counted as starts."""
    fake = FakeEdged(clock=VirtualClock())
    spec: dict[str, Any] = {
        "name": "sensor",
        "config": {"settings": {"image": "s:1", "createOptions": {}}, "env": []},
    }
    with fake.serving(tmp_path / "mgmt.sock"):
        edged = MeteredEdged(tmp_path / "mgmt.sock", VERSION, figures)
        figures.look(Deployment({"sensor": Wanted("sensor", "s:1", version="2.0")}), {}, ())
        edged.prepare(spec)
        edged.create(spec, exists=False, start=True)
        edged.act("sensor", "stop")
        edged.remove("sensor")
        with pytest.raises(Exception, match="no module"):
            edged.act("sensor", "start")
    found = values(figures.text(dict, dict))
    labels = '{module_name="sensor",module_version="2.0"}'
    for name in ("start", "stop", "prepare_update"):
        assert found[f"edgeAgent_module_{name}_total{labels}"] == 1
    for command in ("create", "start", "stop", "remove", "prepareUpdate"):
        assert found[f'edgeAgent_command_latency_seconds_count{{command="{command}"}}'] == 1


def test_a_round_is_looked_at(site: Site) -> None:
    """By the agent at work."""
    site.agent.figures = Figures("hub", "d", "0", site.edged.clock.monotonic)
    site.deploy(a=module("a:1"))
    site.run(60)
    found = values(site.agent.figures.text(dict, dict))
    assert found['edgeAgent_total_time_running_correctly_seconds{module_name="a"}'] > 50


@pytest.fixture
def port(figures: Figures) -> Iterator[int]:
    server = serve_metrics(lambda: figures.text(dict, dict), 0, get_logger("agent"))
    assert server is not None
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_figures_are_served(port: int) -> None:
    """Below /metrics and nowhere else."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for path, status in (("/metrics", 200), ("/", 404)):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == status
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert (b"edgeAgent_metadata" in body) is (status == 200)
        connection.close()


def test_a_taken_port_costs_the_figures_only(port: int) -> None:
    """The agent goes on."""
    assert serve_metrics(str, port, get_logger("agent")) is None
