"""The agent as a process: what it needs, how it ends, and that kill -9 costs nothing."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fakes.edged import FakeEdged
from harness.agent_process import agent_process, environment, is_running, until
from harness.agents import manifest, module

LINE = re.compile(r"<\d> \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \+00:00 \[(INF|WRN|ERR)\] - .+")


def test_a_killed_agent_goes_on_where_it_was(tmp_path: Path) -> None:
    """After kill -9 a new one finds the same memory, touches nothing, and ends on SIGTERM."""
    edged = FakeEdged(deployment=manifest(sensor=module()))
    with edged.serving(tmp_path / "mgmt.sock"):
        with agent_process(environment(tmp_path)) as first:
            until(lambda: is_running(edged, "sensor"), "the sensor runs")
            until(lambda: edged.reports, "a report")
            first.send_signal(signal.SIGKILL)
            first.wait(20)
        memory = json.loads((tmp_path / "memory.json").read_text())
        edged.calls.clear()
        edged.reports.clear()
        with agent_process(environment(tmp_path)) as second:
            until(lambda: edged.reports, "a report of the second agent")
            second.send_signal(signal.SIGTERM)
            talk = second.communicate(timeout=20)[1]
    assert second.returncode == 0
    assert edged.calls == []
    assert json.loads((tmp_path / "memory.json").read_text()) == memory
    assert [line for line in talk.splitlines() if not LINE.fullmatch(line)] == []


def test_another_deployment_is_noticed_at_once(tmp_path: Path) -> None:
    """Not at the next look, which is 5 s later."""
    edged = FakeEdged(deployment=manifest(sensor=module()))
    with edged.serving(tmp_path / "mgmt.sock"), agent_process(environment(tmp_path)):
        until(lambda: is_running(edged, "sensor"), "the sensor runs")
        until(lambda: edged.transactions, "the round has ended")
        until(lambda: edged.transactions[-1]["phase"] == "idle", "it is committed")
        began = time.monotonic()
        edged.deployment = manifest(sensor=module(), second=module())
        until(lambda: is_running(edged, "second"), "the second runs")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(
            {"IOTEDGE_MANAGEMENTURI": ""}, "IOTEDGE_MANAGEMENTURI is not set", id="no socket"
        ),
        pytest.param(
            {"IOTEDGE_MANAGEMENTURI": "http://x"}, "expected unix:///path", id="no unix socket"
        ),
        pytest.param(
            {"StorageFolder": "/nonexistent"}, "storage folder /nonexistent cannot", id="storage"
        ),
    ],
)
def test_a_wrong_environment_ends_the_agent(
    tmp_path: Path, changed: dict[str, str], message: str
) -> None:
    """One line says which variable is wrong; the status is 1."""
    with agent_process({**environment(tmp_path), **changed}) as process:
        talk = process.communicate(timeout=20)[1]
    assert process.returncode == 1
    assert message in talk
    assert len(talk.splitlines()) == 1


def test_the_agent_needs_nothing_but_python() -> None:
    """Its container carries the standard library, and of Skerry these four."""
    program = "import sys; before = set(sys.modules); import skerry.agent.service; "
    program += "print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    loaded = set(done.stdout.split())
    own = {name for name in loaded if name.partition(".")[0] == "skerry"}
    assert {name.split(".")[1] for name in own if "." in name} == {
        "agent",
        "base",
        "module",
        "wire",
    }
    assert {name.partition(".")[0] for name in loaded - own} <= sys.stdlib_module_names
