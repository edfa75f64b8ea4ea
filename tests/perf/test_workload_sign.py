"""Signing through the workload API: a real container, edged and keyd as processes.

The caller is the simplest that can be, so that what is measured is edged and keyd.
"""

import json
from collections.abc import Iterator

import pytest

from harness.edged import House, until
from harness.engine import SLEEPING_AGENT, Moby, missing_prerequisite, moby
from perf.conftest import Record
from skerry_factory.bench import summarise

pytestmark = pytest.mark.perf

RUNS, SECONDS, CALLERS = 5, 3, 2
TARGET_PER_SECOND = 1000

SIGN = """
import socket, sys, threading, time
callers, seconds = int(sys.argv[1]), float(sys.argv[2])
body = b'{"keyId":"primary","algo":"HMACSHA256","data":"aGVsbG8="}'
request = (b"POST /modules/%%24edgeAgent/genid/1/sign?api-version=2020-07-07 HTTP/1.1\\r\\n"
           b"Host: localhost\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
counts = []
def run():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("/run/iotedge/workload.sock")
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        connection.sendall(request)
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"}"), answer
        count += 1
    counts.append(count)
threads = [threading.Thread(target=run) for _ in range(callers)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sum(counts) / seconds)
"""


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moby]:
    missing = missing_prerequisite()
    if missing is not None:
        pytest.skip(missing)
    with moby(tmp_path_factory.mktemp("moby")) as running:
        yield running


@pytest.fixture
def house(engine: Moby, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"), engine.uri)
    made.configure(SLEEPING_AGENT)
    made.spawn_security()
    made.spawn(log_level="info")
    try:
        until(lambda: made.modules().get("edgeAgent") == "running", "the agent runs")
        yield made
    finally:
        made.stop()
        engine.remove_containers()


@pytest.mark.parametrize("callers", [1, CALLERS])
def test_signatures_per_second(house: House, engine: Moby, record: Record, callers: int) -> None:
    """A module signs over a connection that it keeps, as the SDKs do for each token."""
    assert house.modules()
    rates = []
    for _ in range(RUNS + 1):
        command = ["/usr/bin/python3", "-c", SIGN, str(callers), str(SECONDS)]
        started = engine.api.exec_create("edgeAgent", command)
        rates.append(json.loads(engine.api.exec_start(started["Id"])))
    name = f"sign through the workload API, {callers} caller{'s' if callers > 1 else ''}"
    record(summarise(name, rates[1:], "1/s", target=TARGET_PER_SECOND))
