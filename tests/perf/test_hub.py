"""The edge hub: from publish over route and disk to the input of a module, and mosquitto beside."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.lab import make_token, signed
from perf.conftest import Record
from perf.peers import mosquitto
from skerry_factory.bench import summarise

pytestmark = pytest.mark.perf

KEY = b"k" * 32
RUNS, SECONDS, WINDOW = 3, 8.0, 20
PACED_PER_SECOND = 5000
HERE = Path(__file__).parent
HUB = HERE.parent / "harness/hub_process.py"
ROUTES = {"in": 'FROM /messages/* INTO BrokeredEndpoint("/modules/sink/inputs/in1")'}


@dataclass(frozen=True)
class Scene:
    """A hub in a process of its own, with a module that takes everything."""

    folder: Path
    port: int
    pid: int

    def pss_bytes(self) -> int:
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return 1024 * sum(
            int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
        )


@contextmanager
def program(path: Path, asked: object) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, str(path), json.dumps(asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def token(identity: str) -> str:
    path = identity.replace("/", "/modules/")
    return make_token(f"hub/devices/{path}", KEY, time.time() + 3600)


@contextmanager
def running(folder: Path, publishers: int) -> Iterator[Scene]:
    folder.mkdir(exist_ok=True)
    certificate = write_certificate(folder)
    names = ["edge/sink", *(f"d{n}" for n in range(publishers))]
    asked = {
        "folder": str(folder / "store"),
        "certificate": str(certificate),
        "hub": "hub",
        "names": ["hub", "localhost"],
        "routes": ROUTES,
        "key": base64.b64encode(KEY).decode(),
        "devices": names,
    }
    with program(HUB, asked) as process:
        port = int(line(process))
        with listening(folder, port, "devices/edge/modules/sink/inputs/#"):
            yield Scene(folder, port, process.pid)


@contextmanager
def listening(folder: Path, port: int, text: str) -> Iterator[Callable[[], float]]:
    """Have a program take all that comes by a topic filter; asked, it ends and tells how many."""
    asked = {
        "port": port,
        "root": str(folder / "root.pem"),
        "token": token("edge/sink"),
        "filter": text,
    }
    with program(HERE / "hub_sink.py", asked) as process:
        assert line(process) == "listens"

        def taken() -> float:
            return float(process.communicate()[0])

        yield taken


def write_certificate(folder: Path) -> Path:
    start = datetime.now(UTC) - timedelta(hours=1)
    root = signed("root", authority=True, start=start)
    (folder / "root.pem").write_text(root.pem)
    return signed("localhost", root, start=start).write(folder)


def load(
    folder: Path, port: int, publishers: int, window: int, interval: float
) -> dict[str, float]:
    asked = {
        "host": "127.0.0.1",
        "port": port,
        "root": str(folder / "root.pem"),
        "hub": "hub",
        "devices": [[f"d{n}", token(f"d{n}")] for n in range(publishers)],
        "seconds": SECONDS,
        "window": window,
        "interval": interval,
    }
    with program(HERE / "lab_load.py", asked) as process:
        assert line(process) == "connected"
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        found: dict[str, float] = json.loads(line(process))
        return found


@pytest.mark.parametrize("publishers", [10, 50])
def test_from_publisher_to_module(tmp_path: Path, record: Record, publishers: int) -> None:
    """Synced to disk before PUBACK, and taken by a module at the same time."""
    rates, others, missed, paced, memory = [], [], [], [], []
    for number in range(RUNS):
        folder = tmp_path / str(number)
        with running(folder, publishers) as scene:
            memory.append(scene.pss_bytes() / 1e6)
            rates.append(load(folder, scene.port, publishers, WINDOW, 0.0)["rate"])
        with running(folder, publishers) as scene:
            interval = publishers / PACED_PER_SECOND
            found = load(folder, scene.port, publishers, 1, interval)
            paced.append(1000 * found["p99"])
        with (
            mosquitto(folder, folder / "client.pem") as port,
            listening(folder, port, "devices/+/messages/events/#") as taken,
        ):
            found = load(folder, port, publishers, WINDOW, 0.0)
            others.append(found["rate"])
            missed.append(max(0.0, 100 * (1 - taken() / found["acknowledged"])))
    named = f"hub: {publishers} publishers to a module"
    record(summarise(f"{named}, synced", rates, "1/s", peers=others))
    record(summarise(f"{named}, not yet with the peer's subscriber", missed, "%"))
    record(summarise(f"{named}, p99 at 5,000 msg/s", paced, "ms", target=25))
    record(summarise("hub: memory at rest (PSS)", memory, "MB", target=60))
