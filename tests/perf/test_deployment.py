"""How soon a deployment runs, beside `docker start` of the same containers; what it takes."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from harness.agent_device import Device, agent_device, seconds_until, sleeper
from harness.engine import missing_prerequisite, moby
from perf.conftest import Record
from perf.test_memory import pss_megabytes
from skerry_factory.bench import summarise

pytestmark = pytest.mark.perf

MODULES, RUNS, ROUNDS, BACK_OFF_SECONDS = 50, 3, 20, 10.0
OWNED = {"label": ["net.azure-devices.edge.owner"]}
MEASURE_ROUNDS = f"""
import os, tempfile, time
from skerry.agent.service import make_agent
os.environ["StorageFolder"] = tempfile.mkdtemp()
agent = make_agent(os.environ, lambda: None).agent
for _ in range(5):
    agent.round()
for _ in range({ROUNDS}):
    began = time.perf_counter()
    agent.round()
    print(1000 * (time.perf_counter() - began), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device with one module, its deployment committed."""
    missing = missing_prerequisite()
    if missing is not None:
        pytest.skip(missing)
    with (
        moby(tmp_path_factory.mktemp("moby")) as engine,
        agent_device(tmp_path_factory.mktemp("device"), engine) as made,
    ):
        made.deploy({"first": sleeper("0")})
        seconds_until(made.is_settled, "the first deployment")
        yield made


def count(device: Device) -> int:
    """Return how many containers run, the agent's among them."""
    return len(device.moby.api.containers(filters=OWNED))


def settle(device: Device, modules: int, generation: str) -> float:
    """Have so many modules in force; returns the seconds until all of them ran."""
    device.deploy({f"m{number:02}": sleeper(generation) for number in range(modules)})
    seconds = seconds_until(lambda: count(device) == modules + 1, "all modules")
    seconds_until(device.is_settled, "the trial")
    return seconds


def test_first_module(device: Device, record: Record) -> None:
    """From the deployment's arrival on the device to the new module, its image present."""
    samples = []
    for run in range(5):
        settle(device, 0, "0")
        device.deploy({"first": sleeper(str(run))})
        samples.append(seconds_until(lambda: "first" in device.running(), "the module runs"))
    record(summarise("deployment to first module", samples, "s", target=5.0))


def test_fifty_modules(device: Device, record: Record) -> None:
    """From nothing to all ready; the peer is a parallel `docker start` of the same containers."""
    samples, peers = [], []
    for run in range(RUNS):
        settle(device, 0, "0")
        samples.append(settle(device, MODULES, str(run)))
        peers.append(started_by_docker(device))
    record(summarise("50 modules to ready", samples, "s", target=1.2, peers=peers))


def started_by_docker(device: Device) -> float:
    """Return how long a parallel `docker start` of all modules takes, with edged and agent away."""
    api = device.moby.api
    device.house.stop_edged()
    api.kill("edgeAgent")
    names = [f"m{number:02}" for number in range(MODULES)]
    with ThreadPoolExecutor(MODULES) as pool:
        list(pool.map(api.kill, names))
        began = time.monotonic()
        list(pool.map(api.start, names))
        seconds = time.monotonic() - began
    device.house.spawn(log_level="info")
    seconds_until(lambda: device.agent_pid() > 0, "the agent is back")
    seconds_until(lambda: count(device) == MODULES + 1, "all modules run")
    return seconds


def test_fifty_modules_at_rest(device: Device, record: Record) -> None:
    """A round with nothing to do, and the memory of edged and agent."""
    settle(device, MODULES, "rest")
    api = device.moby.api

    def is_at_rest() -> bool:
        return all("minute" in found["Status"] for found in api.containers(filters=OWNED))

    seconds_until(is_at_rest, "all modules run for a minute")
    asked = api.exec_create("edgeAgent", ["/usr/bin/python3", "-c", MEASURE_ROUNDS])
    said = api.exec_start(asked["Id"]).decode()
    rounds = [float(line) for line in said.split()]
    assert len(rounds) == ROUNDS, said
    record(summarise("round with nothing to do, 50 modules", rounds, "ms", target=50.0))
    process = device.house.process
    assert process is not None
    alone = [pss_megabytes(process.pid) for _ in range(5)]
    record(summarise("edged, 50 modules, PSS", alone, "MB"))
    samples = [pss_megabytes(process.pid) + pss_megabytes(device.agent_pid()) for _ in range(5)]
    record(summarise("edged and agent, 50 modules, PSS", samples, "MB", target=60.0))


def test_crashed_module(device: Device, record: Record, tmp_path: Path) -> None:
    """How long after the end of its back-off a module runs again."""
    crash = ["/bin/sh", "-c", "sleep 12; exit 1"]
    device.deploy({"crash": sleeper("0", *crash)})
    seconds_until(device.is_settled, "the trial")
    api = device.moby.api
    first = api.inspect_container("crash")["State"]["StartedAt"]

    def restarted() -> bool:
        state = api.inspect_container("crash")["State"]
        return bool(state["Running"]) and state["StartedAt"] != first

    ended = ""

    def has_ended() -> bool:
        nonlocal ended
        state = api.inspect_container("crash")["State"]
        ended = state["FinishedAt"]
        return not state["Running"]

    seconds_until(has_ended, "it ends")
    seconds_until(restarted, "it is back")
    began = api.inspect_container("crash")["State"]["StartedAt"]
    away = (_time(began) - _time(ended)).total_seconds()
    record(
        summarise("crashed module, after its back-off", [away - BACK_OFF_SECONDS], "s", target=2)
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00")
