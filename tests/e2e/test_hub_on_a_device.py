"""The hub as a device has it: native services, a real Moby, the images we ship, a lab as its cloud.

config.toml is all that says so: edged makes the identities, the agent starts hub and module, and
the module is the stock SDK, which finds everything in the environment that it is given.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.edged import House, until
from harness.engine import Moby, missing_prerequisite, moby
from harness.sdk_module import acknowledged, module_toml, said
from skerry.config.build import build
from skerry.config.deployment import deployment
from skerry.config.document import read
from skerry_factory.command_line import default_cache
from skerry_factory.containers import build_containers, image_ref, write_preload_lock
from skerry_lab.server import Lab, LabSettings

pytestmark = pytest.mark.engine

NETWORK = "azure-iot-edge"
STEP_SECONDS = 60
CONFIG = """
hostname = "house"
trust_bundle_cert = "file://{root}"
[provisioning]
source = "manual"
iothub_hostname = "{hub_name}"
device_id = "edge"
[provisioning.authentication]
method = "sas"
device_id_pk = {{ uri = "file://{key}" }}
[agent]
name = "edgeAgent"
type = "docker"
[agent.config]
image = "{agent}"
[agent.env]
UpstreamPort = "{mqtt_port}"
[hub]
env = {{ UpstreamPort = "{mqtt_port}", ServerCertificateRenewAfterInMs = "2000" }}
image = "{hub}"
createOptions = {{}}
[hub.routes]
up = "FROM /messages/* INTO $upstream"
{module}"""


@dataclass
class Site:
    """A device and its cloud."""

    engine: Moby
    lab: Lab
    house: House

    def said(self) -> list[Any]:
        """Return what the module said."""
        return said(self.engine)

    def acknowledged(self) -> list[int]:
        """Return the numbers that the module need not send again."""
        return acknowledged(self.engine)

    def arrived(self) -> list[int]:
        """Return the numbers that the cloud has."""
        events = self.lab.store.do(lambda cloud: list(cloud.messages.read(0, 100_000, 10**9)))
        return [int(event.telemetry.body) for event in events]

    def hub_log(self) -> str:
        """Return what the hub logged since it was made."""
        return str(self.engine.api.logs("edgeHub").decode())

    def goes_on(self, count: int = 20) -> None:
        """Wait until as many more numbers are acknowledged, and all are in the cloud."""
        wanted = len(self.acknowledged()) + count
        until(lambda: len(self.acknowledged()) >= wanted, "it sends", seconds=STEP_SECONDS)
        told = set(self.acknowledged())
        until(lambda: told <= set(self.arrived()), "all arrives", seconds=STEP_SECONDS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    missing = missing_prerequisite()
    if missing is not None:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("site")
    with moby(tmp_path_factory.mktemp("moby")) as engine:
        # made before edged would do it: at its address the containers reach the lab
        engine.api.create_network(NETWORK, driver="bridge")
        address = engine.api.inspect_network(NETWORK)["IPAM"]["Config"][0]["Gateway"]
        with Lab(folder / "lab", LabSettings(hosts=(address,), names=(address,))) as lab:
            lab.registry.create_device("edge")
            house = House(tmp_path_factory.mktemp("house"), engine.uri)
            try:
                start(house, lab, folder)
                until(lambda: "sensor" in house.modules(), "it is made", seconds=STEP_SECONDS)
                yield Site(engine, lab, house)
            finally:
                house.stop()
                engine.remove_containers()


def start(house: House, lab: Lab, folder: Path) -> None:
    """Do what `skerry config apply` does on a device with the images preloaded."""
    images = build_containers(
        ("agent", "hub"), house.images, default_cache(), progress=lambda text: None
    )
    write_preload_lock(images, house.images / "preload.json")
    root, key = folder / "root.pem", folder / "key"
    root.write_text(lab.root_pem)
    key.write_bytes(lab.registry.device("edge").authentication.keys[0])
    config = CONFIG.format(
        root=root,
        key=key,
        hub_name=lab.hub_name,
        mqtt_port=lab.mqtt_port,
        agent=image_ref("agent"),
        hub=image_ref("hub"),
        module=module_toml(),
    )
    manifest = deployment(build(read(config.encode(), "config.toml").tables, "1"))
    house.configure(config, manifest)
    house.host_security()
    house.spawn()


def test_a_stock_module_reaches_the_cloud(site: Site) -> None:
    """edged's environment is all it has; the hub is a system module, its identity in the cloud."""
    site.goes_on()
    names = {module.module_id for module in site.lab.registry.modules("edge")}
    assert names == {"$edgeAgent", "$edgeHub", "sensor"}
    events = site.lab.store.do(lambda cloud: list(cloud.messages.read(0, 1, 10**9)))
    assert events[0].telemetry.system["content-type"] == "application/json"


def test_a_renewed_certificate_drops_no_connection(site: Site) -> None:
    """The hub takes two more while the module sends; the module never hears of it."""
    site.goes_on()
    before = [one for one in site.said() if isinstance(one, dict)]
    taken = site.hub_log().count("server certificate")
    renewed = "the hub has renewed twice"
    until(lambda: site.hub_log().count("server certificate") >= taken + 2, renewed)
    site.goes_on()
    assert [one for one in site.said() if isinstance(one, dict)] == before


def test_a_killed_hub_comes_back_and_nothing_is_lost(site: Site) -> None:
    """What was acknowledged before and after arrives, each number; the module goes on by itself."""
    site.goes_on()
    first = site.acknowledged()[-1]
    started = site.engine.api.inspect_container("edgeHub")["State"]["StartedAt"]
    site.engine.api.kill("edgeHub")

    def is_back() -> bool:
        state = site.engine.api.inspect_container("edgeHub")["State"]
        return bool(state["Running"] and state["StartedAt"] != started)

    until(is_back, "the hub runs again", seconds=STEP_SECONDS)
    site.goes_on()
    told = [number for number in site.acknowledged() if number >= first]
    assert told == list(range(first, first + len(told)))


def test_the_cloud_may_be_away_over_a_restart(site: Site) -> None:
    """Hub and module end in order, start and work without it; then it gets every number."""
    site.goes_on()
    site.lab.stop()
    try:
        for name in ("edgeHub", "sensor"):
            site.engine.api.restart(name)
        wanted = len(site.acknowledged()) + 20
        taken = "a hub that was started without the cloud takes messages"
        until(lambda: len(site.acknowledged()) >= wanted, taken, seconds=STEP_SECONDS)
    finally:
        site.lab.start()
    site.goes_on()
