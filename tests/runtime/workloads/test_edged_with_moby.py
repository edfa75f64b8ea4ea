"""edged as a process with a real Moby: what the kernel and the engine really say and do.

The agent's container only sleeps; a test speaks from inside a container by `exec`, so the kernel
sees a process of that container.
"""

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from harness.edged import House, until
from harness.engine import IMAGE, SLEEPING_AGENT, Moby, borrowed
from skerry.base.client import ApiError
from skerry.base.frames import split_frames
from skerry.workloads.client import ManagementClient

pytestmark = pytest.mark.engine

CALL = """
import http.client, socket, sys
path, method, target, body = sys.argv[1:]
connection = http.client.HTTPConnection("localhost", timeout=30)
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(path)
connection.request(method, target + "?api-version=2022-08-03", body)
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""

WORKLOAD = "/run/iotedge/workload.sock"
MANAGEMENT = "/run/iotedge/mgmt.sock"
DATA = {"keyId": "primary", "algo": "HMACSHA256", "data": "aGVsbG8="}


def says(moby: Moby, container: str, *command: str) -> str:
    """Run a command in a container and return what it wrote."""
    started = moby.api.exec_create(container, list(command))
    return str(moby.api.exec_start(started["Id"]).decode())


def call(
    moby: Moby, container: str, socket: str, method: str, target: str, body: object = None
) -> tuple[int, Any]:
    """Call one of edged's APIs from inside a container."""
    text = "" if body is None else json.dumps(body)
    said = says(moby, container, "/usr/bin/python3", "-c", CALL, socket, method, target, text)
    status, _, answer = said.partition(" ")
    assert status.isdecimal(), said
    return int(status), json.loads(answer) if answer.strip() else None


def sign(moby: Moby, container: str, module: str) -> tuple[int, Any]:
    target = f"/modules/{module.replace('$', '%24')}/genid/1/sign"
    return call(moby, container, WORKLOAD, "POST", target, DATA)


def run_module(moby: Moby, name: str, *command: str) -> None:
    """Have the agent create a module's identity, the module, and start it."""
    # what runs as process 1 has no default action for SIGTERM
    options = {**borrowed(*command), "StopSignal": "SIGKILL"}
    settings = {"image": IMAGE, "createOptions": options}
    body = {
        "name": name,
        "type": "docker",
        "imagePullPolicy": "never",
        "config": {"settings": settings},
    }
    for method, target, content, expected in (
        ("POST", "/identities", {"moduleId": name}, 200),
        ("POST", "/modules", body, 201),
        ("POST", f"/modules/{name}/start", None, 204),
    ):
        status, answer = call(moby, "edgeAgent", MANAGEMENT, method, target, content)
        assert status == expected, answer


@pytest.fixture(scope="module")
def running(real_engine: Moby, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"), real_engine.uri)
    made.configure(SLEEPING_AGENT)
    made.host_security()
    made.spawn()
    try:
        yield made
    finally:
        made.stop()
        real_engine.remove_containers()


@pytest.fixture
def house(running: House) -> Iterator[House]:
    """A device whose agent runs, and nothing else."""
    until(lambda: running.modules().get("edgeAgent") == "running", "the agent runs")
    yield running
    client = running.client()
    for name in set(running.modules()) - {"edgeAgent"}:
        client.post(f"/modules/{name}/stop")


def test_the_agent_is_not_root_and_known_by_its_container(house: House, real_engine: Moby) -> None:
    """It signs as itself, reads the trust bundle and gets certificates, all as uid 13622."""
    assert says(real_engine, "edgeAgent", "/bin/id", "-u") == "13622\n"
    assert sign(real_engine, "edgeAgent", "$edgeAgent")[0] == 200
    status, bundle = call(real_engine, "edgeAgent", WORKLOAD, "GET", "/trust-bundle")
    assert status == 200
    assert "BEGIN CERTIFICATE" in bundle["certificate"]
    target = "/modules/%24edgeAgent/certificate/identity"
    assert call(real_engine, "edgeAgent", WORKLOAD, "POST", target)[0] == 201


def test_a_module_lives_and_goes(house: House, real_engine: Moby) -> None:
    """Created, started, signing for itself, stopped, removed with its folder of sockets."""
    run_module(real_engine, "pump", "/bin/sleep", "600")
    assert sign(real_engine, "pump", "pump")[0] == 200
    assert house.modules() == {"edgeAgent": "running", "pump": "running"}
    house.client().post("/modules/pump/stop")
    assert house.modules()["pump"] in {"stopped", "failed"}
    assert call(real_engine, "edgeAgent", MANAGEMENT, "DELETE", "/modules/pump")[0] == 204
    assert list(house.modules()) == ["edgeAgent"]
    assert not (house.state / "mnt/pump").exists()


def test_no_module_can_pass_for_another(house: House, real_engine: Moby) -> None:
    """Another module, a container of others that borrows the agent's sockets, and host's root."""
    run_module(real_engine, "valve", "/bin/sleep", "600")
    assert sign(real_engine, "valve", "$edgeAgent") == (403, {"message": "forbidden"})
    for socket, target in (("mgmt", "/modules"), ("workload", "/modules/valve/genid/1/sign")):
        with pytest.raises(ApiError, match="forbidden") as caught:
            house.client(socket).post(target, DATA)
        assert caught.value.status == 403
    agent_sockets = f"{house.state}/mnt/edgeAgent:/run/iotedge"
    spy = borrowed("/bin/sleep", "600", binds=(agent_sockets,))
    real_engine.api.create_container_from_config({"Image": IMAGE, **spy}, "spy")
    real_engine.api.start("spy")
    try:
        assert sign(real_engine, "spy", "$edgeAgent")[0] == 403
        for method, target in (("GET", "/modules"), ("POST", "/modules"), ("GET", "/deployment")):
            assert call(real_engine, "spy", MANAGEMENT, method, target, {})[0] == 403
    finally:
        real_engine.api.remove_container("spy", force=True)
    call(real_engine, "edgeAgent", MANAGEMENT, "DELETE", "/modules/valve")


def test_the_socket_is_there_when_a_module_starts(house: House, real_engine: Moby) -> None:
    """The first thing a module does may be to look for it."""
    run_module(real_engine, "early", "/bin/sh", "-c", f"test -S {WORKLOAD} && echo there")
    until(lambda: house.modules()["early"] == "stopped", "the module has ended well")
    frames = split_frames(ManagementClient(house.folder / "mgmt.sock").logs("early"))
    assert list(frames) == [(1, b"there\n")]
    call(real_engine, "edgeAgent", MANAGEMENT, "DELETE", "/modules/early")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_restarted_edged_adopts_what_runs(
    house: House, real_engine: Moby, end: signal.Signals
) -> None:
    """Nothing is stopped; the same container uses the sockets of the new edged."""
    run_module(real_engine, "pump", "/bin/sleep", "600")
    before = [real_engine.api.inspect_container(name) for name in ("edgeAgent", "pump")]
    assert house.process is not None
    house.process.send_signal(end)
    house.process.wait(30)
    for name in ("edgeAgent", "pump"):
        assert real_engine.api.inspect_container(name)["State"]["Running"]
    house.spawn()
    until(lambda: (house.state / "mnt/pump/workload.sock").is_socket(), "the socket is back")
    until(lambda: signs(real_engine, "pump"), "the module can sign again")
    after = [real_engine.api.inspect_container(name) for name in ("edgeAgent", "pump")]
    assert [(c["Id"], c["State"]["StartedAt"]) for c in after] == [
        (c["Id"], c["State"]["StartedAt"]) for c in before
    ]
    call(real_engine, "edgeAgent", MANAGEMENT, "DELETE", "/modules/pump")


def signs(moby: Moby, module: str) -> bool:
    try:
        return sign(moby, module, module)[0] == 200
    except AssertionError:
        return False  # refused connection: edged has not opened this socket yet


def test_an_agent_that_dies_is_started_again(house: House, real_engine: Moby) -> None:
    """The same container, with the pause that its earlier attempts brought about."""
    before = real_engine.api.inspect_container("edgeAgent")
    real_engine.api.kill("edgeAgent")
    until(
        lambda: (
            real_engine.api.inspect_container("edgeAgent")["State"]["StartedAt"]
            != before["State"]["StartedAt"]
        ),
        "the agent is started again",
    )
    assert real_engine.api.inspect_container("edgeAgent")["Id"] == before["Id"]


def test_a_removed_agent_is_made_again(house: House, real_engine: Moby) -> None:
    """`docker rm -f edgeAgent` lasts for seconds."""
    before = real_engine.api.inspect_container("edgeAgent")["Id"]
    real_engine.api.remove_container("edgeAgent", force=True)
    until(lambda: house.modules().get("edgeAgent") == "running", "the agent runs again")
    assert real_engine.api.inspect_container("edgeAgent")["Id"] != before
