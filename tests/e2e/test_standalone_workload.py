"""A device without its operating system: native services, a real Moby, and the images we ship.

What config.toml says becomes a deployment; edged loads the carried images and starts the agent; the
agent starts the sample sensor, which proves its identity and logs readings.
"""

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from harness.edged import House, until
from harness.engine import Moby, missing_prerequisite, moby
from skerry.base.client import ApiError
from skerry.config.build import build
from skerry.config.deployment import deployment
from skerry.config.document import read
from skerry_factory.command_line import default_cache
from skerry_factory.containers import build_containers, image_ref, write_preload_lock

pytestmark = pytest.mark.engine

CONFIG = f"""
hostname = "house"
[provisioning]
source = "standalone"
[agent]
name = "edgeAgent"
type = "docker"
[agent.config]
image = "{image_ref("agent")}"
[modules.sample-sensor]
image = "{image_ref("sample-sensor")}"
env = {{ INTERVAL_SECONDS = "0.2" }}
"""


PLANTED = ("correct horse battery", "staple of the second kind", "a third that nobody guesses")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moby]:
    missing = missing_prerequisite()
    if missing is not None:
        pytest.skip(missing)
    with moby(tmp_path_factory.mktemp("moby")) as running:
        yield running


@pytest.fixture(scope="module")
def running(engine: Moby, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A device from the moment on when edged was started for the first time."""
    made = House(tmp_path_factory.mktemp("house"), engine.uri)
    names = ("agent", "sample-sensor")
    images = build_containers(names, made.images, default_cache(), progress=lambda text: None)
    write_preload_lock(images, made.images / "preload.json")
    made.configure(CONFIG)
    made.host_security()
    made.spawn()
    try:
        yield made
    finally:
        made.stop()
        engine.remove_containers()


@pytest.fixture
def house(running: House, engine: Moby) -> House:
    """The device with the sensor in its deployment, and running."""
    deploy(running, CONFIG)
    until(lambda: running.modules().get("sample-sensor") == "running", "the sensor runs")
    # as process 1 it ignores SIGTERM until Python has set its handlers
    until(lambda: sensor_lines(engine), "the sensor is up")
    return running


def deploy(house: House, config: str) -> None:
    """Put deployment.json in force as `skerry config apply` makes it."""
    manifest = deployment(build(read(config.encode(), "config.toml").tables, "1"))
    path = house.folder / "edged" / "current" / "deployment.json"
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".new").write_text(json.dumps(manifest))
    path.with_suffix(".new").replace(path)


def sensor_lines(engine: Moby) -> list[dict[str, Any]]:
    """Return what the sensor logged."""
    text = engine.api.logs("sample-sensor", stdout=True, stderr=False).decode()
    return [json.loads(line) for line in text.splitlines()]


def report_of(house: House) -> dict[str, Any]:
    """Return what the agent last reported; nothing before it did."""
    try:
        found: Any = house.client().get("/deployment/status")
    except ApiError:
        return {}
    return dict(found)


def test_the_workload_runs_and_has_proved_who_it_is(house: House, engine: Moby) -> None:
    """Images loaded, agent and sensor started, identity proven, readings logged, all reported."""
    until(lambda: len(sensor_lines(engine)) > 3, "the sensor logs readings")
    proof, reading = sensor_lines(engine)[:2]
    assert (proof["event"], proof["subject"]) == ("identity proven", "sample-sensor")
    assert reading["event"] == "reading"

    def is_reported() -> bool:
        sensor = report_of(house).get("modules", {}).get("sample-sensor", {})
        return bool(sensor.get("runtimeStatus") == "running")

    until(is_reported, "the agent reports the running sensor")
    report = report_of(house)
    assert report["lastDesiredStatus"] == {"code": 200, "description": ""}
    assert report["systemModules"]["edgeAgent"]["runtimeStatus"] == "running"


def test_a_killed_agent_comes_back_and_the_workload_goes_on(house: House, engine: Moby) -> None:
    """Its container is started again; the sensor's is the same process as before."""
    before = engine.api.inspect_container("sample-sensor")["State"]["Pid"]
    starts = agent_log(engine).count("agent started")
    engine.api.kill("edgeAgent")
    until(lambda: agent_log(engine).count("agent started") > starts, "the agent is back")
    assert engine.api.inspect_container("sample-sensor")["State"]["Pid"] == before


def agent_log(engine: Moby) -> str:
    """Return what the agent logged."""
    return str(engine.api.logs("edgeAgent").decode())


def secret_in(engine: Moby, name: str = "db") -> str:
    """Return a secret as the sensor's own user reads it."""
    script = f"print(open('/run/secrets/{name}').read(), end='')"
    made = engine.api.exec_create("sample-sensor", ["python3", "-c", script])
    return str(engine.api.exec_start(made["Id"]).decode())


def told_of(house: House, engine: Moby) -> str:
    """Return all that anybody is told: the engine, the management API, logs, the bundle."""
    told = [engine.api.inspect_container(name) for name in ("edgeAgent", "sample-sensor")]
    asked = ("/modules", "/secrets", "/deployment/status", "/deployment/history")
    told += [house.client().get(path) for path in asked]
    bundle = b"".join(house.client().stream("/systeminfo/supportbundle", {}))
    with zipfile.ZipFile(io.BytesIO(bundle)) as found:
        files = [found.read(name).decode(errors="replace") for name in found.namelist()]
    return "\n".join([json.dumps(told), house.log(), agent_log(engine), *files])


def give(house: House, value: str) -> None:
    """Do what `skerry secret set db` does."""
    house.client().put("/secrets/db", {"value": base64.b64encode(value.encode()).decode()})


def has_secret(house: House, engine: Moby) -> bool:
    if house.modules().get("sample-sensor") != "running":
        return False
    found = engine.api.inspect_container("sample-sensor")
    places = [mount["Destination"] for mount in found["Mounts"]]
    return "/run/secrets" in places


def test_a_secret_reaches_its_module_and_nobody_else(house: House, engine: Moby) -> None:
    """Waited for, delivered as a file, rotated under the running module, kept from all others."""
    deploy(house, f'{CONFIG}secrets = ["db"]\n[secrets.db]\n')
    missing = "secret 'db' has no value on this device"
    until(lambda: missing in house.log() + agent_log(engine), "somebody says what is missing")
    assert not has_secret(house, engine)
    give(house, PLANTED[0])
    until(lambda: has_secret(house, engine), "the sensor has its secret", seconds=90)
    container = engine.api.inspect_container("sample-sensor")
    assert secret_in(engine) == PLANTED[0]
    give(house, PLANTED[1])
    until(lambda: secret_in(engine) == PLANTED[1], "the new value is there")
    house.stop_edged()
    house.spawn()
    give(house, PLANTED[2])
    until(lambda: secret_in(engine) == PLANTED[2], "a restarted edged goes on with it")
    after = engine.api.inspect_container("sample-sensor")
    assert (after["Id"], after["State"]["Pid"]) == (container["Id"], container["State"]["Pid"])
    told = told_of(house, engine)
    assert [value for value in PLANTED if value in told] == []


def test_a_changed_deployment_is_followed(house: House, engine: Moby) -> None:
    """A new value reaches the module in a new container; no module, and it is gone."""
    deploy(house, CONFIG.replace('"0.2"', '"0.1"'))

    def has_new_value() -> bool:
        if house.modules().get("sample-sensor") != "running":
            return False
        found = engine.api.inspect_container("sample-sensor")
        return "INTERVAL_SECONDS=0.1" in found["Config"]["Env"]

    until(has_new_value, "the sensor runs with its new interval")
    until(lambda: sensor_lines(engine), "the new sensor is up")
    deploy(house, CONFIG[: CONFIG.index("[modules")])
    removed = "the sensor is removed, once the trial of the former deployment has ended"
    until(lambda: list(house.modules()) == ["edgeAgent"], removed, seconds=120)
