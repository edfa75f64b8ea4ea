"""The management API of a running edged, in front of an engine that speaks Docker's API."""

import base64
import json
import socket
import threading
from typing import Any

import pytest

from fakes.docker_engine import DockerEngine
from harness.edged import House, env_of, status_of, until
from skerry.base.client import ApiError
from skerry.base.frames import split_frames

IMAGE = "localhost/test/pump:1"
IMAGE_ID = "sha256:" + "b" * 64


def spec(name: str = "pump", **settings: object) -> dict[str, object]:
    given: dict[str, object] = {"image": IMAGE, "createOptions": {}, **settings}
    return {
        "name": name,
        "type": "docker",
        "config": {
            "settings": given,
            "env": [{"key": "A", "value": "1"}],
        },
    }


@pytest.fixture
def agent(house: House, engine: DockerEngine) -> House:
    """The house, called by its agent's container, with an image for one more module."""
    engine.images[IMAGE] = IMAGE_ID
    house.caller = engine.containers["edgeAgent"].id
    return house


def test_the_life_of_a_module(agent: House, engine: DockerEngine) -> None:
    """Create, start, stop, restart and remove answer as upstream's do, and do it."""
    client = agent.client()
    created: Any = client.post("/modules", spec())
    assert created["status"]["runtimeStatus"] == {"status": "stopped", "description": "created"}
    assert created["config"]["settings"]["imageHash"] == IMAGE_ID
    client.post("/modules/pump/start")
    client.post("/modules/pump/start")
    assert agent.modules() == {"edgeAgent": "running", "pump": "running"}
    client.post("/modules/pump/Stop")
    client.post("/modules/pump/stop")
    assert agent.modules()["pump"] == "stopped"
    client.post("/modules/pump/restart")
    assert status_of(engine, "pump") == "running"
    client.delete("/modules/pump")
    assert agent.modules() == {"edgeAgent": "running"}
    assert not (agent.state / "mnt" / "pump").exists()


def test_a_module_is_replaced_with_its_new_settings(agent: House, engine: DockerEngine) -> None:
    """PUT makes the container anew and starts it when asked to."""
    client = agent.client()
    client.post("/modules", spec())
    before = engine.containers["pump"].id
    client.put("/modules/pump", spec(createOptions={"Env": ["A=2"]}), {"start": "true"})
    assert engine.containers["pump"].id != before
    assert env_of(engine, "pump") == {"A": "2"}
    assert status_of(engine, "pump") == "running"


def test_a_module_stays_when_its_new_image_is_missing(agent: House, engine: DockerEngine) -> None:
    """PUT with an image that is not there answers 404 and leaves the old container alone."""
    client = agent.client()
    client.post("/modules", spec())
    client.post("/modules/pump/start")
    with pytest.raises(ApiError, match="'localhost/none:1' is not on this device") as refused:
        client.put("/modules/pump", spec(image="localhost/none:1"))
    assert refused.value.status == 404
    assert status_of(engine, "pump") == "running"


def test_the_agent_gets_its_answer_before_it_is_replaced(
    agent: House, engine: DockerEngine
) -> None:
    """PUT of edgeAgent answers 201 and replaces it afterwards; the watchdog leaves the new one."""
    engine.images["localhost/test/agent:2"] = "sha256:" + "c" * 64
    before = engine.containers["edgeAgent"].id
    wanted = spec("edgeAgent", image="localhost/test/agent:2")
    agent.client().put("/modules/edgeAgent", wanted, {"start": "true"})

    def is_new() -> bool:
        container = engine.containers.get("edgeAgent")
        return container is not None and container.id != before and container.status == "running"

    until(is_new, "the new agent runs")
    assert engine.containers["edgeAgent"].body["Image"] == "localhost/test/agent:2"
    assert env_of(engine, "edgeAgent")["IOTEDGE_MODULEID"] == "$edgeAgent"


def test_the_watchdog_waits_for_an_agent_that_replaces_itself(
    agent: House, engine: DockerEngine
) -> None:
    """Between the old container and the new one it sees none, and makes none."""
    engine.images["localhost/test/agent:2"] = "sha256:" + "c" * 64
    release = engine.held["/containers/create"] = threading.Event()
    wanted = spec("edgeAgent", image="localhost/test/agent:2")
    agent.client().put("/modules/edgeAgent", wanted, {"start": "true"})
    until(lambda: "edgeAgent" not in engine.containers, "the old agent is gone")

    def looks() -> int:
        return engine.count("GET", "/containers/edgeAgent/json")

    seen = looks()
    until(lambda: looks() > seen, "the watchdog has seen that")
    release.set()
    until(lambda: status_of(engine, "edgeAgent") == "running", "the new agent runs")
    seen = looks()
    until(lambda: looks() > seen + 5, "the watchdog looks on")
    assert engine.containers["edgeAgent"].body["Image"] == "localhost/test/agent:2"


def test_upstream_in_the_name_of_an_image_is_the_parent(agent: House, engine: DockerEngine) -> None:
    """Pulled, run and logged in to under the real name; the agent finds the name that it gave."""
    engine.registry["house/valve:1"] = IMAGE_ID
    auth = {"serveraddress": "$upstream", "username": "u", "password": "p"}
    client = agent.client()
    created: Any = client.post("/modules", spec(image="$upstream/valve:1", auth=auth))
    assert created["config"]["settings"]["image"] == "$upstream/valve:1"
    assert engine.containers["pump"].body["Image"] == "house/valve:1"
    assert json.loads(base64.urlsafe_b64decode(engine.logins[-1]))["serveraddress"] == "house"


AGENT_ONLY = (
    ("post", "/modules"),
    ("put", "/modules/pump"),
    ("delete", "/modules/edgeAgent"),
    ("post", "/modules/pump/prepareupdate"),
    ("post", "/identities"),
    ("put", "/identities/pump"),
    ("delete", "/identities/pump"),
    ("post", "/device/reprovision"),
    ("put", "/deployment/status"),
    ("put", "/deployment/history"),
    ("get", "/deployment/request"),
    ("get", "/deployment"),
)


def test_only_the_agent_changes_things(house: House) -> None:
    """A process of the host is refused what belongs to the agent, with 403."""
    house.caller = None
    for method, path in AGENT_ONLY:
        call = getattr(house.client(), method)
        with pytest.raises(ApiError, match="only the edge agent") as refused:
            call(path) if method in {"get", "delete"} else call(path, spec())
        assert (path, refused.value.status) == (path, 403)


def test_the_agents_own_socket_answers_nobody_else(house: House, engine: DockerEngine) -> None:
    """The socket in the agent's folder refuses even to read for another caller."""
    client = house.client("edgeAgent/mgmt.sock")
    with pytest.raises(ApiError, match="only the edge agent") as refused:
        client.get("/modules")
    assert refused.value.status == 403
    house.caller = engine.containers["edgeAgent"].id
    assert client.get("/modules") is not None


def test_reading_and_restarting_is_for_all_who_can_open_the_socket(
    agent: House, engine: DockerEngine
) -> None:
    """Without being the agent: list, look at, stop, start, logs, systeminfo."""
    agent.client().post("/modules", spec())
    agent.caller = None
    client = agent.client()
    client.post("/modules/pump/start")
    one: Any = client.get("/modules/pump")
    assert one["name"] == "pump"
    info: Any = client.get("/systeminfo")
    assert (info["cpus"], info["server_version"]) == (2, "20.10.24")
    engine.containers["pump"].log = b"one\ntwo\n"
    pieces = split_frames(client.stream("/modules/pump/logs", {"tail": "1"}))
    assert list(pieces) == [(1, b"two\n")]


QUESTIONS: tuple[tuple[str, dict[str, str], int, str], ...] = (
    ("/modules/none", {}, 404, "No such container"),
    ("/modules/pump/logs", {"since": "yesterdayish"}, 400, "time 'yesterdayish'"),
    ("/modules/pump/logs", {"tail": "-1"}, 400, "tail is '-1'"),
    ("/systeminfo/supportbundle", {"since": "long ago"}, 400, "is not understood"),
    ("/systeminfo/supportbundle", {"edge_runtime_only": "1"}, 400, "expected true or false"),
    ("/nowhere", {}, 404, "not found"),
)


def test_bad_questions_have_clear_answers(agent: House) -> None:
    """What does not exist or is not understood is said with its value."""
    agent.client().post("/modules", spec())
    for path, query, status, message in QUESTIONS:
        with pytest.raises(ApiError, match=message) as refused:
            agent.client().get(path, query)
        assert refused.value.status == status


BAD_SPECS: tuple[tuple[dict[str, object], int, str], ...] = (
    ({**spec(), "type": "podman"}, 400, "type 'podman'"),
    ({**spec(), "name": "../x"}, 400, "name '../x' is not usable"),
    (spec(createOptions={"HostConfig": [1]}), 422, "createOptions of 'pump'"),
    (spec(createOptions={"Env": [1]}), 422, "createOptions of 'pump'"),
    (spec(createOptions={"Labels": {}, "labels": {}}), 422, "'Labels' is there twice"),
    (spec("edgeAgent", createOptions={"HostConfig": {"Mounts": [7]}}), 422, "createOptions of"),
    ({"name": "pump"}, 422, "type is missing"),
)


def test_a_bad_specification_is_refused(agent: House, engine: DockerEngine) -> None:
    """A module that cannot be made is refused before the engine is asked."""
    for body, status, message in BAD_SPECS:
        with pytest.raises(ApiError, match=message) as refused:
            agent.client().post("/modules", body)
        assert refused.value.status == status
    assert "pump" not in engine.containers


def test_a_container_of_somebody_else_is_no_module(agent: House, engine: DockerEngine) -> None:
    """A container without our label is neither listed nor touched."""
    agent.client().post("/modules", spec())
    engine.containers["pump"].body["Labels"] = {}
    assert "pump" not in agent.modules()
    for path in ("/modules/pump/stop", "/modules/pump/start"):
        with pytest.raises(ApiError, match="no module 'pump'"):
            agent.client().post(path)
    with pytest.raises(ApiError, match="no module 'pump'"):
        agent.client().delete("/modules/pump")


def test_identities_come_and_go(agent: House) -> None:
    """Identities have a generation that stays until they are removed."""
    client = agent.client()
    made: Any = client.post("/identities", {"moduleId": "pump", "managedBy": "iotedge"})
    assert (made["moduleId"], made["managedBy"], made["authType"]) == ("pump", "iotedge", "sas")
    again: Any = client.put("/identities/pump", {"generationId": "1", "managedBy": "iotedge"})
    assert again == made
    listed: Any = client.get("/identities/")
    assert {entry["moduleId"] for entry in listed["identities"]} == {"$edgeAgent", "pump"}
    client.delete("/identities/pump")
    new: Any = client.post("/identities", {"moduleId": "pump"})
    assert new["generationId"] != made["generationId"]


def test_the_report_of_the_agent_is_kept(agent: House) -> None:
    """404 before the agent reports, then what it reported, also after edged started again."""
    client = agent.client()
    with pytest.raises(ApiError, match="has not reported yet") as missing:
        client.get("/deployment/status")
    assert missing.value.status == 404
    client.put("/deployment/status", {"lastDesiredStatus": {"code": 200}})
    agent.stop_edged()
    agent.host()
    assert agent.client().get("/deployment/status") == {"lastDesiredStatus": {"code": 200}}


def test_the_deployment_is_read_anew_each_time(agent: House) -> None:
    """404 without one, which says what to do; then the file as it is."""
    with pytest.raises(ApiError, match="skerry config apply") as missing:
        agent.client().get("/deployment")
    assert missing.value.status == 404
    agent.configure(deployment={"modulesContent": {"$edgeHub": {}}})
    assert agent.client().get("/deployment") == {"modulesContent": {"$edgeHub": {}}}


def test_people_and_the_agent_tell_each_other_about_deployments(agent: House) -> None:
    """History one way, requests the other; a request that is none is refused."""
    client = agent.client()
    for path in ("/deployment/history", "/deployment/request"):
        with pytest.raises(ApiError) as missing:
            client.get(path)
        assert missing.value.status == 404
    client.put("/deployment/history", {"phase": "idle", "history": []})
    assert client.get("/deployment/history") == {"phase": "idle", "history": []}
    asked: Any = client.post("/deployment/request", {"action": "rollback"})
    assert client.get("/deployment/request") == asked
    with pytest.raises(ApiError, match="action is 'dance', expected 'rollback' or 'retry'"):
        client.post("/deployment/request", {"action": "dance"})


def test_an_applied_deployment_lasts_until_the_configurations_changes(agent: House) -> None:
    """A file by hand is in force until `config apply` has another word."""
    applied: dict[str, object] = {"modulesContent": {"$edgeAgent": {}}}
    agent.client().put("/deployment", applied)
    assert agent.client().get("/deployment") == applied
    agent.configure(deployment={"modulesContent": {"$edgeHub": {"new": 1}}})
    assert agent.client().get("/deployment") == {"modulesContent": {"$edgeHub": {"new": 1}}}


def test_the_settings_in_force_are_told(agent: House) -> None:
    """GET /config tells the digest that `config apply` waits for."""
    answer: Any = agent.client().get("/config")
    assert len(answer["digest"]) == 64


def test_a_full_disk_is_named_with_the_remedy(agent: House, engine: DockerEngine) -> None:
    """500 with the engine's words, and how to get space."""
    engine.refuse("/containers/json", 500, "write /var/lib/docker: no space left on device")
    with pytest.raises(ApiError, match="docker image prune") as full:
        agent.client().get("/modules")
    assert full.value.status == 500


def test_an_image_for_another_machine_is_422(agent: House, engine: DockerEngine) -> None:
    """The agent takes that for a deployment that can never be applied here."""
    engine.architecture = "s390x"
    settings = {"image": "localhost/test/agent:1", "createOptions": {}}
    spec = {
        "name": "pump",
        "type": "docker",
        "imagePullPolicy": "never",
        "config": {"settings": settings},
    }
    with pytest.raises(ApiError, match="is for linux/s390x") as caught:
        agent.client().post("/modules/pump/prepareupdate", spec)
    assert caught.value.status == 422


def test_a_port_of_somebody_else_is_told_beforehand(agent: House, engine: DockerEngine) -> None:
    """Nothing is made while another process holds what the module would publish."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = str(server.getsockname()[1])
        ports = {"80/tcp": [{"HostPort": number}]}
        settings = {
            "image": "localhost/test/agent:1",
            "createOptions": {"HostConfig": {"PortBindings": ports}},
        }
        spec = {"name": "pump", "type": "docker", "config": {"settings": settings}}
        with pytest.raises(ApiError, match=f"port {number}/tcp is held by another process"):
            agent.client().post("/modules/pump/prepareupdate", spec)
    agent.client().post("/modules/pump/prepareupdate", spec)
    assert "pump" not in engine.containers
