"""A lab that serves finishes sweeps by itself, also those that others began, also after a stop."""

import time
from collections.abc import Callable
from pathlib import Path

from harness.lab_fleet import device_content
from skerry_lab.cloud import Cloud
from skerry_lab.configurations.targeting import STEP_DEVICES
from skerry_lab.registry.model import Authentication, AuthType, Device
from skerry_lab.server import Lab
from skerry_lab.store import Store

DEVICES = 3 * STEP_DEVICES
BODY = {"content": device_content(rate=1), "targetCondition": "*"}


def fill(cloud: Cloud) -> None:
    for number in range(DEVICES):
        cloud.registry.put_device(Device(f"d{number:03}", Authentication(AuthType.NONE)))


def applied(cloud: Cloud) -> int:
    found = cloud.configurations
    return found.counts(found.get("c"))["appliedCount"]


def wait(store: Store, work: Callable[[Cloud], int], expected: int) -> None:
    deadline = time.monotonic() + 10
    while (found := store.do(work)) != expected:
        assert time.monotonic() < deadline, found


def test_the_server_goes_on_where_a_stop_came_between(tmp_path: Path) -> None:
    """And takes up what another process begins beside it."""
    store = Store(tmp_path / "lab")
    store.do(fill)
    store.do(lambda cloud: cloud.configurations.put("c", BODY, None))
    assert store.do(applied) == STEP_DEVICES
    store.close()
    with Lab(tmp_path / "lab") as lab:
        wait(lab.store, applied, DEVICES)
        beside = Store(tmp_path / "lab")
        changed = {"targetCondition": "deviceId = 'd149'"}
        beside.do(lambda cloud: cloud.configurations.put("c", changed, "*"))
        wait(beside, applied, 1)
        beside.do(lambda cloud: cloud.configurations.remove("c"))
        wait(beside, lambda cloud: len(cloud.configurations.store.versions()), 0)
        beside.close()
