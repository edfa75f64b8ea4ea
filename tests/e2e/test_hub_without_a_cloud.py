"""A hub of a device that has no cloud: native services, a real Moby, the stock SDK as a module."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness.edged import House, until
from harness.engine import Moby, missing_prerequisite, moby
from harness.sdk_module import acknowledged, module_toml, said
from skerry.cli.main import run
from skerry.config.build import build
from skerry.config.deployment import deployment
from skerry.config.document import read
from skerry_factory.command_line import default_cache
from skerry_factory.containers import build_containers, image_ref, write_preload_lock

pytestmark = pytest.mark.engine

STEP_SECONDS = 60
SINK = "house/sink/in"
CONFIG = f"""
hostname = "house"
[provisioning]
source = "standalone"
[agent]
name = "edgeAgent"
type = "docker"
[agent.config]
image = "{image_ref("agent")}"
[hub]
image = "{image_ref("hub")}"
createOptions = {{}}
[hub.routes]
kept = 'FROM /messages/modules/sensor/* INTO BrokeredEndpoint("/modules/sink/inputs/in")'
{module_toml()}"""


@dataclass
class Alone:
    """A device and its engine."""

    engine: Moby
    house: House

    def hub(self, *words: str) -> int:
        """Ask the hub as root does, by its volume."""
        store = self.engine.api.inspect_volume("skerry-hub")["Mountpoint"] + "/edgeHub"
        return run(["hub", *words, "--store", store, "--output", "json"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    missing = missing_prerequisite()
    if missing is not None:
        pytest.skip(missing)
    with moby(tmp_path_factory.mktemp("moby")) as engine:
        house = House(tmp_path_factory.mktemp("house"), engine.uri)
        names = ("agent", "hub")
        images = build_containers(names, house.images, default_cache(), progress=lambda text: None)
        write_preload_lock(images, house.images / "preload.json")
        manifest = deployment(build(read(CONFIG.encode(), "config.toml").tables, "1"))
        house.configure(CONFIG, manifest)
        house.host_security()
        house.spawn()
        try:
            until(lambda: house.modules().get("sensor") == "running", "it runs", seconds=120)
            yield Alone(engine, house)
        finally:
            house.stop()
            engine.remove_containers()


def test_a_stock_module_sends_to_another_one(
    alone: Alone, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys and certificate are the device's own; what is acknowledged waits for its receiver."""
    until(lambda: len(acknowledged(alone.engine)) >= 20, "it sends", seconds=STEP_SECONDS)
    told = len(acknowledged(alone.engine))
    assert alone.hub("queues") == 0
    (queue,) = json.loads(capsys.readouterr().out)["queues"]
    assert (queue["endpoint"], queue["length"] >= told) == (SINK, True)


def test_the_first_refusal_is_not_the_modules(alone: Alone) -> None:
    """The hub asks edged about a module that is newer than what it knows: the SDK is let in."""
    until(lambda: len(acknowledged(alone.engine)) >= 1, "it sends", seconds=STEP_SECONDS)
    refused = [one for one in said(alone.engine) if "Credential" in str(one)]
    assert refused == []


def test_people_ask_the_hub_about_it(alone: Alone, capsys: pytest.CaptureFixture[str]) -> None:
    """Its twin, and a method that it does not take."""
    until(lambda: len(acknowledged(alone.engine)) >= 1, "it sends", seconds=STEP_SECONDS)
    capsys.readouterr()
    assert alone.hub("twin", "house/sensor") == 0
    assert json.loads(capsys.readouterr().out)["connected"] is True
    assert alone.hub("method", "house/sensor", "blink") == 1
    assert "house/sensor does not take direct methods" in capsys.readouterr().err
