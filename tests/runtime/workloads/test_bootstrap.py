"""From a started edged to a running agent, and what happens when a part of that is missing."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.docker_engine import DockerEngine, serving
from harness.edged import CONFIG, House, env_of, status_of, until
from skerry.base.client import ApiError
from skerry.base.service import EXIT_REPROVISIONED, EXIT_SETTINGS

AGENT_IMAGE = "localhost/test/agent:1"


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[House]:
    """A configured device of which nothing runs."""
    made = House(tmp_path, f"unix://{tmp_path / 'docker.sock'}")
    made.configure()
    try:
        yield made
    finally:
        made.stop()


def agent_runs(engine: DockerEngine) -> bool:
    return status_of(engine, "edgeAgent") == "running"


def agent_id(engine: DockerEngine) -> str | None:
    container = engine.containers.get("edgeAgent")
    return None if container is None else container.id


def write_image(house: House, reference: str, config: bytes = b"{}") -> str:
    """Put an image archive and the preload.json that names it on the device; returns the id."""
    house.images.mkdir(exist_ok=True)
    archive = io.BytesIO()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [reference], "Layers": []}])
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in (("config.json", config), ("manifest.json", manifest.encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    (house.images / "image.tar").write_bytes(archive.getvalue())
    identity = "sha256:" + hashlib.sha256(config).hexdigest()
    line = {
        "ref": reference,
        "id": identity,
        "file": "image.tar",
        "sha256": hashlib.sha256(archive.getvalue()).hexdigest(),
        "size_bytes": len(archive.getvalue()),
    }
    (house.images / "preload.json").write_text(json.dumps({"images": [line]}))
    return identity


def test_the_agent_gets_what_it_needs(house: House, engine: DockerEngine) -> None:
    """Its container has the environment, labels, user, storage, sockets and network of an agent."""
    body: Any = engine.containers["edgeAgent"].body
    env = env_of(engine, "edgeAgent")
    assert env.pop("IOTEDGE_MODULEGENERATIONID")
    assert env == {
        "EdgeDeviceHostName": "house",
        "IOTEDGE_APIVERSION": "2022-08-03",
        "IOTEDGE_AUTHSCHEME": "sasToken",
        "IOTEDGE_DEVICEID": "house",
        "IOTEDGE_IOTHUBHOSTNAME": "house",
        "IOTEDGE_MANAGEMENTURI": "unix:///run/iotedge/mgmt.sock",
        "IOTEDGE_MODULEID": "$edgeAgent",
        "IOTEDGE_WORKLOADLISTEN_MNTURI": f"unix://{house.state}/mnt",
        "IOTEDGE_WORKLOADURI": "unix:///run/iotedge/workload.sock",
        "Mode": "iotedged",
        "NetworkId": "azure-iot-edge",
        "StorageFolder": "/var/lib/skerry-agent",
    }
    assert body["User"] == "13622:13622"
    assert body["Labels"]["net.azure-devices.edge.owner"] == "Microsoft.Azure.Devices.Edge.Agent"
    assert {mount["Target"] for mount in body["HostConfig"]["Mounts"]} == {
        "/run/iotedge",
        "/var/lib/skerry-agent",
    }
    assert body["NetworkingConfig"] == {"EndpointsConfig": {"azure-iot-edge": {}}}
    assert engine.networks["azure-iot-edge"]["Driver"] == "bridge"
    assert (house.state / "mnt/edgeAgent/mgmt.sock").is_socket()


def test_edged_waits_for_an_engine(stopped: House, tmp_path: Path) -> None:
    """Without one its API says how to start it; when it is there the agent starts."""
    stopped.host_security()
    stopped.host()
    with pytest.raises(ApiError, match="systemctl start docker") as refused:
        stopped.client().get("/modules")
    assert refused.value.status == 503
    engine = DockerEngine(images={AGENT_IMAGE: "sha256:" + "a" * 64})
    with serving(engine, tmp_path / "docker.sock"):
        until(lambda: agent_runs(engine), "the agent runs")
        stopped.stop_edged()


def test_edged_waits_for_identityd(stopped: House, engine: DockerEngine) -> None:
    """Without it nothing is created and the answer says what is missing; then the agent starts."""
    stopped.host()
    assert stopped.client().get("/modules") == {"modules": []}
    with pytest.raises(ApiError, match=r"no answer on .*identityd\.sock"):
        stopped.client().get("/identities")
    stopped.host_security()
    until(lambda: agent_runs(engine), "the agent runs")


def test_an_agent_that_ended_is_started_again(house: House, engine: DockerEngine) -> None:
    """An agent that crashed runs again, in the same container."""
    engine.exit("edgeAgent", 1)
    until(lambda: engine.count("POST", "/containers/edgeAgent/start") > 1, "it is started again")
    assert engine.count("POST", "/containers/create") == 1


def test_a_running_agent_is_adopted(house: House, engine: DockerEngine) -> None:
    """edged that starts again touches neither the agent nor a module, and serves their sockets."""
    engine.images["localhost/test/pump:1"] = "sha256:" + "b" * 64
    house.caller = engine.containers["edgeAgent"].id
    settings = {"image": "localhost/test/pump:1", "createOptions": {}}
    pump = {"name": "pump", "type": "docker", "config": {"settings": settings}}
    house.client().post("/modules", pump)
    house.client().post("/modules/pump/start")
    house.stop_edged()
    assert house.caller is not None
    engine.calls.clear()
    house.host()
    until(lambda: engine.count("GET", "/containers/edgeAgent/json"), "edged looks at its agent")
    house.caller = engine.containers["pump"].id
    until(lambda: (house.state / "mnt/pump/workload.sock").is_socket(), "the socket is there")
    assert house.client("pump/workload.sock").get("/trust-bundle") is not None
    assert [
        call for call in engine.calls if call[0] in {"DELETE"} or call[1].endswith("/stop")
    ] == []


def test_a_changed_agent_is_made_anew(house: House, engine: DockerEngine) -> None:
    """Another image or environment in config.toml gives another container; the same one stays."""
    before = engine.containers["edgeAgent"].id
    house.stop_edged()
    house.configure(CONFIG + "[agent.env]\nLEVEL = 'debug'\n")
    house.host()
    until(lambda: agent_id(engine) not in {None, before}, "the agent is made anew")
    until(lambda: agent_runs(engine), "the agent runs")
    assert env_of(engine, "edgeAgent")["LEVEL"] == "debug"


def test_a_new_identity_removes_the_containers_of_the_former(
    house: House, engine: DockerEngine
) -> None:
    """Another host name is another device: its containers are made anew."""
    before = engine.containers["edgeAgent"].id
    house.stop()
    house.services.hosted.clear()
    house.configure(CONFIG.replace('"house"', '"other"'))
    house.host_security()
    house.host()
    until(lambda: agent_runs(engine) and agent_id(engine) != before, "a new agent")
    assert env_of(engine, "edgeAgent")["IOTEDGE_DEVICEID"] == "other"


def test_a_missing_image_is_loaded_from_the_appliance(stopped: House, engine: DockerEngine) -> None:
    """What preload.json names is loaded and never fetched."""
    engine.images.clear()
    identity = write_image(stopped, AGENT_IMAGE)
    stopped.host_security()
    stopped.host()
    until(lambda: agent_runs(engine), "the agent runs")
    assert engine.images[AGENT_IMAGE] == identity
    assert engine.count("POST", "/images/create") == 0


def test_another_image_under_a_carried_name_is_put_right(
    stopped: House, engine: DockerEngine
) -> None:
    """An image that took the name of a carried one does not run: the carried one does."""
    identity = write_image(stopped, AGENT_IMAGE)
    stopped.host_security()
    stopped.host()
    until(lambda: agent_runs(engine), "the agent runs")
    assert engine.containers["edgeAgent"].image_id == identity


def test_the_device_can_be_provisioned_again(house: House, engine: DockerEngine) -> None:
    """The agent's request is answered 204, then edged ends with the status for a new start."""
    house.caller = engine.containers["edgeAgent"].id
    house.client().post("/device/reprovision")
    edged, thread = house.edged, house.thread
    assert edged is not None
    assert thread is not None
    thread.join(30)
    assert edged.status == EXIT_REPROVISIONED
    assert not (house.state / "cache" / "provisioning_state").exists()
    assert agent_runs(engine)


def test_a_failed_provisioning_leaves_the_device_what_it_was(
    house: House, engine: DockerEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """With identityd out of reach edged says so and runs on, and so do the modules."""
    house.caller = engine.containers["edgeAgent"].id
    house.services.end_hosted("identityd")
    house.client().post("/device/reprovision")
    until(lambda: any("not provisioned again" in m for m in caplog.messages), "edged says so")
    assert house.thread is not None
    assert house.thread.is_alive()
    assert (house.state / "cache" / "provisioning_state").exists()
    assert agent_runs(engine)


def test_provisioning_at_every_start_is_tried_and_not_waited_for(
    stopped: House, engine: DockerEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """A device that always provisions at its start comes up with the identity that it has."""
    stopped.configure(f'auto_reprovisioning_mode = "AlwaysOnStartup"\n{CONFIG}')
    stopped.host()
    until(lambda: any("former identity serves" in m for m in caplog.messages), "edged says so")
    stopped.host_security()
    until(lambda: agent_runs(engine), "the agent runs")
    assert sum("former identity serves" in m for m in caplog.messages) == 1


def test_bad_settings_end_with_153(stopped: House) -> None:
    """Settings that cannot be used are named on standard error, and systemd stays away."""
    stopped.services.configure("edged", 'hostname = "house"\n[agent]\nname = "edgeAgent"\n')
    done = subprocess.run(
        [sys.executable, "-m", "skerry.workloads.service", *stopped.arguments()],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == EXIT_SETTINGS
    assert "agent.type is None, expected a text" in done.stderr


def test_an_agent_that_fails_too_often_ends_edged(stopped: House, engine: DockerEngine) -> None:
    """With max_retries set, edged gives up after that many attempts, with status 1."""
    engine.refuse("/containers/edgeAgent/start", 500, "exec format error")
    stopped.configure(CONFIG + "[watchdog]\nmax_retries = 0\n")
    stopped.host_security()
    stopped.host()
    edged, thread = stopped.edged, stopped.thread
    assert edged is not None
    assert thread is not None
    thread.join(30)
    assert edged.status == 1


def test_a_missing_agent_image_is_named_until_it_is_there(
    stopped: House, engine: DockerEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """The journal names image and remedy once, however often it is tried; then the agent starts."""
    engine.images.clear()
    stopped.host_security()
    stopped.host()
    looks = f"/images/{AGENT_IMAGE}/json"
    until(lambda: engine.count("GET", looks) > 2, "edged tries again")
    engine.images[AGENT_IMAGE] = "sha256:" + "a" * 64
    until(lambda: agent_runs(engine), "the agent runs")
    said = [m for m in caplog.messages if "not on this device" in m]
    assert len(said) == 1
    assert "docker load" in said[0]
