"""Deployments during which edged, agent, engine or registry are killed: one whole set, old or new.

Real processes, a real Moby, a real registry; the moment of each kill comes from a seed.
"""

import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.agent_device import Device, agent_device, seconds_until, sleeper
from harness.engine import missing_prerequisite, moby
from harness.registry import Registry, missing_registry, registry
from harness.tiers import Counts

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

NAMES = ("first", "second")
NEVER = {"type": "log", "pattern": "never", "timeoutSeconds": 1}
DEPLOYMENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "good": sleeper,
    "crash loop": lambda generation: sleeper(generation, "/bin/false"),
    "never ready": lambda generation: sleeper(generation, readiness=NEVER),
}
KILLS: dict[str, Callable[[Device], None]] = {
    "edged": Device.kill_edged,
    "agent": Device.kill_agent,
    "dockerd": Device.kill_engine,
}
LATEST_SECONDS = 3.0
"""By then a deployment that fails is on its way back, and a good one at its end."""
IMAGE_BYTES = 4_000_000
DISK_MIB = 100


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    missing = missing_prerequisite() or missing_registry()
    if missing is not None:
        pytest.skip(missing)
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, store: Registry) -> Iterator[Device]:
    """A device with an engine of its own, whose first deployment is in force."""
    folder = tmp_path_factory.mktemp("moby")
    with (
        moby(folder, trust=store.ca, options=["--max-download-attempts=1"]) as engine,
        agent_device(tmp_path_factory.mktemp("device"), engine) as made,
    ):
        made.deploy({name: sleeper("first") for name in NAMES})
        seconds_until(made.is_settled, "the first set")
        yield made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for one image and not for its layers unpacked."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, timeout=30)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


def has_whole_set(device: Device, generation: str) -> bool:
    """Tell whether exactly one generation runs."""
    return device.running() == dict.fromkeys(NAMES, generation)


@pytest.mark.parametrize("victim", KILLS)
def test_a_kill_during_a_deployment_leaves_one_whole_set(
    device: Device, victim: str, counts: Counts
) -> None:
    """Whichever the history says; a deployment that fails always leaves the old one."""
    chance = random.Random(victim)  # noqa: S311 - repeatable on purpose
    present = device.running()[NAMES[0]]
    for number in range(counts.of(f"deployments with {victim} killed", reduced=1, full=34)):
        kind = list(DEPLOYMENTS)[number % len(DEPLOYMENTS)]
        generation = f"{victim}-{number}"
        wrong = chance.choice(NAMES)
        modules = {name: sleeper(generation) for name in NAMES}
        # the pauses between starts of the agent are forgotten, so that none has to be waited for
        device.kill_edged()
        device.deploy({**modules, wrong: DEPLOYMENTS[kind](generation)})
        threading.Event().wait(chance.uniform(0, LATEST_SECONDS))
        KILLS[victim](device)
        seconds_until(device.is_settled, f"{kind} ends, {victim} killed")
        outcome = device.state()["history"][-1]["outcome"]
        assert outcome == "rolled-back" or kind == "good"
        present = generation if outcome == "committed" else present
        seconds_until(partial(has_whole_set, device, present), f"{present} is back: {kind}")


def test_a_registry_that_goes_mid_pull_touches_nothing(
    device: Device, store: Registry, counts: Counts
) -> None:
    """Cut or killed after any number of bytes; when it is back the deployment goes on by itself."""
    chance = random.Random("registry")  # noqa: S311 - repeatable on purpose
    credentials = {"lab": {"address": store.host, "username": "puller", "password": "secret"}}
    runtime = {"type": "docker", "settings": {"registryCredentials": credentials}}
    present = device.running()[NAMES[0]]
    for number in range(counts.of("deployments with the registry gone", reduced=1, full=20)):
        generation = f"registry-{number}"
        image = store.publish(device.moby, f"pump{number}", size_bytes=IMAGE_BYTES)
        modules = {
            name: sleeper(generation, image=image, imagePullPolicy="on-create") for name in NAMES
        }
        is_killed = number % 2 == 0
        store.line.cut_after(chance.randrange(IMAGE_BYTES))
        device.deploy(modules, runtime=runtime)
        if is_killed:
            store.line.held.wait(30)
            store.kill()
        seconds_until(lambda: device.state().get("problem"), "the agent says what is missing")
        assert has_whole_set(device, present)
        if is_killed:
            store.start()
        store.line.free()
        seconds_until(device.is_settled, "the deployment has ended")
        assert device.state()["history"][-1]["outcome"] == "committed"
        present = generation
        seconds_until(partial(has_whole_set, device, present), "the new set")


def test_a_disk_that_fills_mid_pull_touches_nothing(
    tmp_path_factory: pytest.TempPathFactory, small_disk: Path, store: Registry
) -> None:
    """When there is room again the deployment goes on by itself."""
    folder = tmp_path_factory.mktemp("full")  # short: containerd's sockets have to fit too
    options = ["--max-download-attempts=1"]
    with (
        moby(folder, trust=store.ca, data=small_disk, options=options) as engine,
        agent_device(tmp_path_factory.mktemp("device"), engine) as device,
    ):
        device.deploy({name: sleeper("old") for name in NAMES})
        seconds_until(device.is_settled, "the first set")
        image = published_elsewhere(tmp_path_factory.mktemp("other"), store)
        credentials = {"lab": {"address": store.host, "username": "puller", "password": "secret"}}
        runtime = {"type": "docker", "settings": {"registryCredentials": credentials}}
        new = sleeper("new", image=image, imagePullPolicy="on-create")
        device.deploy(dict.fromkeys(NAMES, new), runtime=runtime)
        seconds_until(lambda: device.state().get("problem"), "the agent says what is missing")
        assert "no space left on device" in device.state()["problem"]
        assert has_whole_set(device, "old")
        more = ["mount", "-o", f"remount,size={8 * DISK_MIB}m", str(small_disk)]
        subprocess.run(more, check=True, timeout=30)
        seconds_until(device.is_settled, "the deployment has ended")
        seconds_until(partial(has_whole_set, device, "new"), "the new set")


def published_elsewhere(folder: Path, store: Registry) -> str:
    """Publish a large image from an engine with room."""
    with moby(folder, trust=store.ca) as engine:
        return store.publish(engine, "large", size_bytes=DISK_MIB * 600_000)
