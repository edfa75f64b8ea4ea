"""Configurations of the lab with 10,000 devices: a sweep, its longest step, one changed device."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.lab_fleet import device_content
from perf.conftest import Record
from skerry.wire.identity import Identity
from skerry_factory.bench import summarise
from skerry_lab.cloud import Cloud
from skerry_lab.registry.model import Authentication, AuthType, Device
from skerry_lab.store import Store

pytestmark = pytest.mark.perf

DEVICES, OTHERS, CHANGES, RUNS = 10_000, 50, 200, 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A lab whose devices have a tag, a hundredth of them the same."""
    found = Store(tmp_path / "lab")

    def fill(cloud: Cloud) -> None:
        for number in range(DEVICES):
            device = Device(f"d{number:05}", Authentication(AuthType.NONE))
            cloud.registry.put_device(device)
            cloud.twins.patch(Identity(device.device_id), tags={"site": number % 100})

    found.do(fill)
    yield found
    found.close()


def sweep(store: Store) -> tuple[float, float]:
    """Return how long the rest of a sweep takes, and the longest step of it, in seconds."""
    steps = []
    while True:
        began = time.monotonic()
        more = store.do(lambda cloud: cloud.targeting.step())
        steps.append(time.monotonic() - began)
        if not more:
            return sum(steps), max(steps)


@pytest.mark.timeout(300)
def test_a_configuration_reaches_ten_thousand_devices(store: Store, record: Record) -> None:
    """To all of them, then off them again, and what one changed device costs beside 50 others."""
    body = {"content": device_content(rate=1), "targetCondition": "tags.site >= 0"}
    on, off = [], []
    for _ in range(RUNS):
        store.do(lambda cloud: cloud.configurations.put("all", body, None))
        on.append(sweep(store))
        store.do(lambda cloud: cloud.configurations.remove("all"))
        off.append(sweep(store))
    name = f"lab: a configuration on {DEVICES} devices"
    record(summarise(name, [total for total, _ in on], "s"))
    record(summarise(f"{name}, taken off", [total for total, _ in off], "s"))
    record(summarise("lab: the longest step of a sweep", [step for _, step in on + off], "s"))
    for number in range(OTHERS):
        content = device_content(**{f"k{number}": 1})
        other = {"content": content, "targetCondition": f"tags.site = {number}"}
        store.do(lambda cloud, n=number, b=other: cloud.configurations.put(f"c{n}", b, None))  # type: ignore[misc]
    sweep(store)
    took = []
    for number in range(CHANGES):
        began = time.monotonic()
        store.do(
            lambda cloud, n=number: cloud.twins.patch(Identity(f"d{n:05}"), tags={"site": 7})  # type: ignore[misc]
        )
        took.append(1000 * (time.monotonic() - began))
    record(summarise(f"lab: a tag changed beside {OTHERS} configurations", took, "ms"))
