"""Which images are removed, when, and what that can never do."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from harness.clock import MovableClock
from harness.edged import until
from skerry.base.log import get_logger
from skerry.engine.client import MobyEngine
from skerry.engine.errors import EngineError
from skerry.workloads.collector import Collector, images_of, is_due, needed_images
from skerry.workloads.deployment import Deployment, DeploymentError
from skerry.workloads.image_use import ImageUse
from skerry.workloads.settings import CollectionSettings

A, B, C = ("sha256:" + letter * 64 for letter in "abc")
WEEK = timedelta(days=7, seconds=1)


@dataclass
class Device:
    """An engine, what edged remembers, and what a deployment needs."""

    fake: DockerEngine
    folder: Path
    clock: MovableClock = field(default_factory=MovableClock)
    needed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.use = ImageUse(self.folder / "gc", self.clock)

    def brought(self, **images: str) -> None:
        for name, image_id in images.items():
            self.fake.images[f"{name}:1"] = image_id
            self.use.brought(image_id)

    def collector(self, *, enabled: bool = True) -> Collector:
        engine = MobyEngine(f"unix://{self.folder / 'docker.sock'}")
        known = CollectionSettings(enabled=enabled)
        log = get_logger("edged")
        return Collector(engine, self.use, known, lambda: self.needed, self.clock, log)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with serving(DockerEngine(), tmp_path / "docker.sock") as fake:
        yield Device(fake, tmp_path)


def test_an_image_that_nobody_uses_goes_after_its_age(device: Device) -> None:
    """With all its names; one that a person loaded stays."""
    device.brought(pump=A)
    device.fake.images |= {"also-pump:1": A, "loaded-by-hand:1": B}
    assert device.collector().collect() == []
    device.clock.move(WEEK)
    assert device.collector().collect() == [A]
    assert device.fake.images == {"loaded-by-hand:1": B}
    assert device.use.older_than(0) == []


def test_what_is_needed_stays_and_is_young_again(device: Device) -> None:
    """Images of containers, whosever they are, and those of the deployments."""
    device.brought(pump=A, former=B, other=C)
    engine = MobyEngine(f"unix://{device.folder / 'docker.sock'}")
    engine.create("stopped", {"Image": "pump:1"})
    device.needed = {"former:1", "not-there:1"}
    device.clock.move(WEEK)
    assert device.collector().collect() == [C]
    assert device.use.older_than(0) == []
    assert set(device.fake.images) == {"pump:1", "former:1"}


def test_an_engine_that_refuses_one_image_does_not_keep_the_rest(device: Device) -> None:
    """It is tried again the next time; one that has gone by other hands is forgotten."""
    device.brought(pump=A, valve=B, gone=C)
    del device.fake.images["gone:1"]
    device.fake.refuse(f"/images/{A}", 409, "image has dependent child images")
    device.clock.move(WEEK)
    assert device.collector().collect() == [B]
    assert device.use.older_than(0) == [A]


@pytest.mark.parametrize("path", ["/containers/json", "/images/needed:1/json"])
def test_when_it_cannot_be_told_what_stays_nothing_goes(device: Device, path: str) -> None:
    """An engine in trouble."""
    device.brought(pump=A)
    device.needed = {"needed:1"}
    device.clock.move(WEEK)
    device.fake.refuse(path, 500, "database is locked")
    with pytest.raises(EngineError, match="database is locked"):
        device.collector().collect()
    assert device.fake.images == {"pump:1": A}


def test_a_collection_that_failed_is_tried_again(device: Device) -> None:
    """The round counts when it has ended well; the first start only begins the count."""
    device.brought(pump=A)
    collector = device.collector()
    collector.look()
    first = device.use.last_collection()
    device.clock.move(WEEK)
    device.fake.refuse("/containers/json", 500, "no")
    with pytest.raises(EngineError):
        collector.look()
    assert device.use.last_collection() == first
    device.fake.refusals.clear()
    collector.look()
    assert device.fake.images == {}
    assert device.use.last_collection() == device.clock.now()


def test_trouble_ends_neither_the_collector_nor_anything_else(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors and defects are logged; the thread goes on until it is told to stop."""

    def broken() -> set[str]:
        raise RuntimeError("a defect")

    engine = MobyEngine(f"unix://{device.folder / 'docker.sock'}")
    device.use.collected()
    device.clock.move(WEEK)
    log = get_logger("edged")
    collector = Collector(
        engine, device.use, CollectionSettings(), broken, device.clock, log, (0.0, 0.01)
    )
    collector.start()
    until(lambda: caplog.text.count("image collection failed") >= 2, "it goes on")
    collector.stop()


def test_switched_off_it_never_starts(device: Device) -> None:
    """[image_garbage_collection] enabled = false."""
    collector = device.collector(enabled=False)
    collector.start()
    collector.stop()
    assert not (device.folder / "gc").exists()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-06-{text}")


@pytest.mark.parametrize(
    ("last", "now", "days", "expected"),
    [
        ("10T03:00", "10T22:59", 1, False),
        ("10T03:00", "10T23:00", 1, True),
        ("10T23:00", "11T22:00", 1, False),
        ("10T23:30", "11T23:00", 1, True),
        ("10T12:00", "20T12:00", 1, True),
        ("10T12:00", "11T23:00", 2, True),
        ("10T12:00", "10T23:00", 2, False),
        ("20T12:00", "10T12:00", 1, False),
    ],
)
def test_the_time_of_the_day_decides(last: str, now: str, days: int, expected: bool) -> None:
    """At 23:00 every day or every second one; a device that was off then is late, not left out."""
    settings = CollectionSettings(every_days=days, at=time(23))
    assert is_due(moment(now), moment(last), settings) is expected


def test_images_are_found_wherever_a_document_names_them() -> None:
    """In manifests and in reports."""
    document = {
        "systemModules": {"edgeAgent": {"settings": {"image": "agent:1"}}},
        "modules": {"image": {"settings": {"image": "pump:1", "createOptions": "{}"}}},
        "others": [{"image": "valve:1"}, {"image": ""}, {"image": 3}],
    }
    assert sorted(images_of(document)) == ["agent:1", "pump:1", "valve:1"]


def test_needed_are_file_report_and_what_the_agent_keeps(tmp_path: Path) -> None:
    """The deployment in force, the former one and the one being prepared."""
    file = tmp_path / "deployment.json"
    deployment = Deployment(file, tmp_path / "deployment_status.json")
    assert needed_images(deployment) == set()
    file.write_text('{"modules": {"a": {"settings": {"image": "file:1"}}}}')
    deployment.put_report({"modules": {"a": {"settings": {"image": "twin:1"}}}})
    deployment.put_history({"images": ["former:1", 3], "good": {"digest": "x"}})
    assert needed_images(deployment) == {"file:1", "twin:1", "former:1"}
    file.write_text("{")
    with pytest.raises(DeploymentError):
        needed_images(deployment)
