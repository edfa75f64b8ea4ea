"""The lab under kill -9 while devices talk to it: what was acknowledged is there afterwards."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.mqtt import DEADLINE_SECONDS, ClosedError, MqttDevice
from harness.tiers import Counts
from skerry.base.clock import SystemClock
from skerry.wire.identity import Identity
from skerry.wire.topics import (
    TWIN_RESPONSES,
    TwinResponse,
    events_topic,
    parse_hub_topic,
    reported_topic,
)
from skerry_lab.registry.model import Authentication, AuthType, Device
from skerry_lab.server import Lab
from skerry_lab.store import Store

PROGRAM = Path(sys.executable).with_name("skerry-lab")
KEY_TEXT, KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", b"k" * 32
SENDERS = 4


@dataclass
class Told:
    """What clients were told that it is stored."""

    messages: dict[str, list[int]] = field(default_factory=dict)
    twins: dict[str, tuple[int, int]] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Lab]]:
    """A lab in a process of its own, and where to reach it."""
    ports = ["--https-port", "0", "--mqtt-port", "0"]
    process = subprocess.Popen(
        [str(PROGRAM), "up", "--data", str(folder), "--output", "json", *ports],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        facts = _facts(process, folder / "lab.json")
        reached = SimpleNamespace(
            hub_name=facts["hub"],
            mqtt_port=facts["mqtt_port"],
            root_pem=(folder / "ca.pem").read_text(),
            clock=SystemClock(),
        )
        yield process, cast("Lab", reached)
    finally:
        process.kill()
        process.wait()


def _facts(process: subprocess.Popen[bytes], path: Path) -> dict[str, Any]:
    """Wait for this process's file: a killed lab leaves its own."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, ValueError):
            facts: dict[str, Any] = json.loads(path.read_text())
            if facts["pid"] == process.pid:
                return facts
        time.sleep(0.005)
    raise AssertionError(f"the lab does not serve, its status is {process.poll()}")


def publish_for_ever(lab: Lab, device_id: str, told: Told) -> None:
    """Number messages on from the last acknowledged one."""
    done = told.messages.setdefault(device_id, [])
    with MqttDevice(lab, Identity(device_id), KEY) as client:
        client.connect()
        while True:
            number = done[-1] + 1 if done else 1
            client.publish(events_topic(device_id), b"%d" % number)
            done.append(number)


def report_for_ever(lab: Lab, device_id: str, told: Told) -> None:
    """Count up a reported property."""
    count = told.twins.get(device_id, (0, 0))[0]
    with MqttDevice(lab, Identity(device_id), KEY) as client:
        client.connect()
        client.subscribe(TWIN_RESPONSES)
        while True:
            count += 1
            client.publish(reported_topic(f"{count}"), b'{"count": %d}' % count)
            answer = parse_hub_topic(client.message().topic)
            assert isinstance(answer, TwinResponse)
            assert (answer.status, answer.request_id) == (204, f"{count}")
            told.twins[device_id] = (count, answer.version or 0)


def register_for_ever(folder: Path, told: Told, ended: threading.Event) -> None:
    """Register devices as the command line does, beside the running lab."""
    store = Store(folder)
    while not ended.is_set():
        device_id = f"new{len(told.devices)}"
        auth = Authentication(AuthType.SAS, KEY_TEXT)
        store.do(lambda cloud, d=device_id, a=auth: cloud.registry.put_device(Device(d, a)))  # type: ignore[misc]
        told.devices.add(device_id)
    store.close()


def check(folder: Path, told: Told) -> None:
    """Everything that was told is in the database, and nothing is there in two versions."""
    store = Store(folder)
    try:
        _check(store, told)
    finally:
        store.close()


def _check(store: Store, told: Told) -> None:
    found: dict[str, list[int]] = {}
    for event in store.do(lambda cloud: list(cloud.messages.read(0, 10**7, 10**9))):
        found.setdefault(event.telemetry.identity.device_id, []).append(int(event.telemetry.body))
    for device_id, numbers in told.messages.items():
        stored = found.get(device_id, [])
        assert set(numbers) <= set(stored), device_id
        # One that was stored and not acknowledged is sent again under its number.
        assert stored == sorted(stored), device_id
    for device_id, (count, version) in told.twins.items():
        reported = _reported(store, device_id)
        assert reported["count"] >= count
        assert reported["$version"] >= version
    found_ids = store.do(
        lambda cloud: {device.device_id for device in cloud.registry.store.devices(10**6)}
    )
    assert told.devices <= found_ids


def _reported(store: Store, device_id: str) -> Any:
    return store.do(lambda cloud: cloud.twins.document(Identity(device_id)))["reported"]


@pytest.mark.faults
def test_kills_lose_nothing_that_was_acknowledged(tmp_path: Path, counts: Counts) -> None:
    """No message, no version of a twin, no registered device; the next start is an ordinary one."""
    chance = random.Random(7)  # noqa: S311
    told = Told()
    store = Store(tmp_path)
    for number in range(2 * SENDERS):
        auth = Authentication(AuthType.SAS, KEY_TEXT)
        store.do(lambda cloud, n=number, a=auth: cloud.registry.put_device(Device(f"d{n}", a)))  # type: ignore[misc]
    store.close()
    for _ in range(counts.of("kills of a lab under load", reduced=3, full=200)):
        _kill_once(tmp_path, told, chance.uniform(0.05, 0.6))
        check(tmp_path, told)
    assert sum(map(len, told.messages.values())) > 0
    assert told.twins
    assert told.devices


def _kill_once(folder: Path, told: Told, seconds: float) -> None:
    ended = threading.Event()
    with running(folder) as (process, lab):
        works: list[Callable[[], None]] = [lambda: register_for_ever(folder, told, ended)]
        for number in range(SENDERS):
            works.append(lambda n=number: publish_for_ever(lab, f"d{n}", told))  # type: ignore[misc]
            works.append(lambda n=number: report_for_ever(lab, f"d{n + SENDERS}", told))  # type: ignore[misc]
        problems: list[BaseException] = []
        threads = [threading.Thread(target=_until_killed, args=(work, problems)) for work in works]
        for thread in threads:
            thread.start()
        ended.wait(seconds)  # the moment of the kill is chance, nothing is waited for
        process.kill()
        process.wait()
        ended.set()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()
    assert not problems, problems


def _until_killed(work: Callable[[], None], problems: list[BaseException]) -> None:
    try:
        work()
    except (ClosedError, OSError):
        return
    except BaseException as error:
        problems.append(error)
