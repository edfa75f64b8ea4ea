"""The lab cloud under load: rate and latency of durable messages, memory, start."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.lab import make_token
from perf.conftest import Record
from perf.peers import mosquitto
from skerry_factory.bench import summarise
from skerry_lab.cloud import Cloud
from skerry_lab.registry.model import Device
from skerry_lab.store import SERVER_FILE, Store

pytestmark = pytest.mark.perf

DEVICES, CONNECTIONS, MANY = 10_000, 500, 100_000
RUNS, SECONDS = 3, 8.0
PACED_PER_SECOND = 5000
LOAD = Path(__file__).with_name("lab_load.py")
PROGRAM = Path(sys.executable).with_name("skerry-lab")


def registered(folder: Path, count: int) -> None:
    """Make a lab with so many devices."""

    def work(cloud: Cloud) -> None:
        for number in range(count):
            keys = cloud.registry.fresh_keys()
            cloud.registry.put_device(Device(f"d{number}", keys))

    store = Store(folder)
    store.do(work)
    store.close()


def tokens(folder: Path, hub: str) -> list[list[str]]:
    """Return the devices that connect, each with a token."""
    store = Store(folder)
    ids = [f"d{number}" for number in range(CONNECTIONS)]
    keys = store.do(
        lambda cloud: [cloud.registry.device(one).authentication.keys[0] for one in ids]
    )
    store.close()
    later = time.time() + 3600
    return [
        [one, make_token(f"{hub}/devices/{one}", key, later)]
        for one, key in zip(ids, keys, strict=True)
    ]


@dataclass
class Running:
    """A lab in a process of its own."""

    folder: Path
    process: subprocess.Popen[bytes]
    facts: dict[str, Any]
    start_seconds: float

    def pss_bytes(self) -> int:
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return 1024 * sum(
            int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
        )


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    ports = ["--https-port", "0", "--mqtt-port", "0"]
    began = time.monotonic()
    process = subprocess.Popen(
        [str(PROGRAM), "up", "--data", str(folder), "--output", "json", *ports],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (folder / "lab.json").exists():
            assert process.poll() is None
            time.sleep(0.005)
        seconds = time.monotonic() - began
        facts = json.loads((folder / "lab.json").read_text())
        yield Running(folder, process, facts, seconds)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def loading(
    lab: Running, interval: float, port: int | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Connect all, to the lab or to what listens with its certificate at another port.

    A line on its standard input begins, its last line is the result.
    """
    asked = {
        "host": "127.0.0.1",
        "port": port or lab.facts["mqtt_port"],
        "root": str(lab.folder / "ca.pem"),
        "hub": lab.facts["hub"],
        "devices": tokens(lab.folder, lab.facts["hub"]),
        "seconds": SECONDS,
        "window": 1,
        "interval": interval,
    }
    process = subprocess.Popen(
        [sys.executable, str(LOAD), json.dumps(asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def measured(process: "subprocess.Popen[str]") -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    found: dict[str, float] = json.loads(process.stdout.readline())
    return found


def test_durable_messages(tmp_path: Path, record: Record) -> None:
    """500 connections of 10,000 devices, QoS 1 over TLS, each message on disk before its PUBACK."""
    registered(tmp_path, DEVICES)
    rates, paced, idle, each, others = [], [], [], [], []
    for _ in range(RUNS):
        with running(tmp_path) as lab:
            before = lab.pss_bytes()
            with loading(lab, 0.0) as process:
                idle.append(before / 1e6)
                each.append((lab.pss_bytes() - before) / CONNECTIONS / 1e3)
                rates.append(measured(process)["rate"])
            with loading(lab, CONNECTIONS / PACED_PER_SECOND) as process:
                paced.append(1000 * measured(process)["p99"])
            with (
                mosquitto(tmp_path, tmp_path / SERVER_FILE) as port,
                loading(lab, 0.0, port) as process,
            ):
                others.append(measured(process)["rate"])
    record(summarise("lab: messages stored", rates, "1/s", target=5000))
    record(summarise("lab: messages stored, mosquitto (in memory)", rates, "1/s", peers=others))
    record(summarise("lab: p99 at 5,000 msg/s", paced, "ms", target=50))
    record(summarise("lab: memory at rest (PSS)", idle, "MB", target=60))
    record(summarise("lab: memory a connection (PSS)", each, "KB", target=40))


def test_start_with_many_devices(tmp_path: Path, record: Record) -> None:
    """Until it serves, with 100,000 devices registered."""
    registered(tmp_path, MANY)
    seconds = []
    for _ in range(5):
        with running(tmp_path) as lab:
            seconds.append(lab.start_seconds)
    record(summarise("lab: start with 100,000 devices", seconds, "s", target=2))
