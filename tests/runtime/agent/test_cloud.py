"""The deployment from the twin: which one counts, and the whole way with a running lab."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fakes.edged import FakeEdged
from fakes.https_server import connect_proxy
from fakes.workload import FakeWorkload
from harness.agent_process import agent_process, environment, is_running, until
from harness.agents import manifest, module
from harness.lab import make_token
from skerry.agent.cloud import Cloud
from skerry.agent.hub_session import TwinView
from skerry.base.https import HttpsClient, trust_context
from skerry.base.log import get_logger
from skerry.wire.identity import Identity
from skerry_lab.server import Lab, LabSettings

AGENT = Identity("d1", "$edgeAgent")
LOCAL = {"modulesContent": {"local": 1}}


class FixedLink:
    """A connection that shows what a test says."""

    def __init__(self, twin: TwinView | None = None) -> None:
        self.twin = twin
        self.reports: list[Mapping[str, object]] = []

    def report(self, properties: Mapping[str, object]) -> None:
        self.reports.append(properties)


def desired(document: Any) -> dict[str, Any]:
    """Return the desired properties of a manifest."""
    properties: dict[str, Any] = document["modulesContent"]["$edgeAgent"]["properties.desired"]
    return properties


def test_the_twin_replaces_the_file_once_there_is_one(tmp_path: Path) -> None:
    """Also offline and after a restart; an empty twin takes nothing away."""
    link, log = FixedLink(), get_logger("agent")
    cloud = Cloud(link, tmp_path, log)
    assert cloud.choose(LOCAL) == LOCAL
    link.twin = TwinView({"$version": 1}, {})
    assert cloud.choose(LOCAL) == LOCAL
    link.twin = TwinView({"schemaVersion": "1.1", "$version": 2, "$metadata": {}}, {})
    chosen = {
        "modulesContent": {
            "$edgeAgent": {"properties.desired": {"schemaVersion": "1.1", "$version": 2}}
        }
    }
    assert cloud.choose(LOCAL) == chosen
    assert Cloud(FixedLink(), tmp_path, log).choose(LOCAL) == chosen
    assert (tmp_path / "twin.json").stat().st_mode & 0o777 == 0o600


def test_a_broken_copy_of_the_twin_counts_as_none(tmp_path: Path) -> None:
    """The file of the configuration is better than nothing."""
    (tmp_path / "twin.json").write_text("{")
    assert Cloud(FixedLink(), tmp_path, get_logger("agent")).choose(LOCAL) == LOCAL


def invoke(lab: Lab, name: str, payload: object) -> dict[str, Any]:
    """Call a direct method of the agent as a service does."""
    policy = lab.store.do(lambda cloud: cloud.policies.get("service"))
    assert policy is not None
    token = make_token(lab.hub_name, policy.keys[0], lab.clock.now().timestamp() + 60, policy.name)
    url = f"https://localhost:{lab.https_port}/twins/d1/modules/%24edgeAgent/methods"
    client = HttpsClient(trust_context([lab.root_pem], system_roots=False))
    body = json.dumps({"methodName": name, "payload": payload}).encode()
    answer = client.request(
        "POST", f"{url}?api-version=2021-04-12", headers={"authorization": token}, body=body
    )
    found: dict[str, Any] = json.loads(answer.body)
    return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab that serves on loopback."""
    with Lab(tmp_path / "lab") as running:
        yield running


@pytest.fixture
def hub_environment(tmp_path: Path, lab: Lab) -> dict[str, str]:
    """What edged gives an agent whose hub is the lab."""
    return {
        **environment(tmp_path),
        "IOTEDGE_WORKLOADURI": f"unix://{tmp_path / 'workload.sock'}",
        "IOTEDGE_IOTHUBHOSTNAME": lab.hub_name,
        "IOTEDGE_GATEWAYHOSTNAME": "localhost",
        "IOTEDGE_DEVICEID": "d1",
        "IOTEDGE_MODULEGENERATIONID": "7",
        "UpstreamPort": str(lab.mqtt_port),
    }


def test_a_deployment_pushed_from_a_lab_runs_and_is_reported(
    tmp_path: Path, lab: Lab, hub_environment: dict[str, str]
) -> None:
    """Twin, roll-back of a broken update, report and direct methods, over MQTT and TLS."""
    lab.registry.create_device("d1")
    key = next(m for m in lab.registry.modules("d1") if m.module_id == "$edgeAgent")
    workload = FakeWorkload("$edgeAgent", key=key.authentication.keys[0])
    workload.answers["trust-bundle"] = {"certificate": lab.root_pem}
    edged = FakeEdged()

    def want(**modules: dict[str, Any]) -> None:
        wanted = {**desired(manifest(**modules)), "trialSeconds": 0}
        lab.store.do(lambda cloud: cloud.twins.set_desired(AGENT, wanted))

    def reported() -> dict[str, Any]:
        document: Any = lab.store.do(lambda cloud: cloud.twins.document(AGENT))
        found: dict[str, Any] = document["reported"]
        return found

    def is_reported(code: int, version: int) -> bool:
        found = reported()
        status = found.get("lastDesiredStatus", {})
        return (status.get("code"), found.get("lastDesiredVersion")) == (code, version)

    want(sensor=module("sensor:1"))
    with (
        edged.serving(tmp_path / "mgmt.sock"),
        workload.serving(tmp_path / "workload.sock"),
        agent_process(hub_environment),
    ):
        until(lambda: is_running(edged, "sensor"), "the sensor runs")
        until(lambda: is_reported(200, 2), "the hub knows that it does")
        assert invoke(lab, "ping", None)["status"] == 200
        assert invoke(lab, "RestartModule", {"schemaVersion": "1.0", "id": "sensor"}) == {
            "status": 200,
            "payload": None,
        }
        want(sensor=module("sensor:1"), second=module("second:1"))
        until(lambda: is_running(edged, "second"), "a patch of the twin is applied")
        until(lambda: edged.transactions[-1]["phase"] == "idle", "it is committed")
        never = {"type": "log", "pattern": "never", "timeoutSeconds": 0}
        want(sensor=module("sensor:2", readiness=never), second=module("second:1"))
        until(lambda: edged.transactions[-1]["bad"], "a broken update is rolled back")
        until(lambda: is_reported(500, 4), "the hub knows why")
        until(lambda: is_running(edged, "sensor"), "the sensor runs again")
    assert edged.modules["sensor"].spec["config"]["settings"]["image"] == "sensor:1"
    assert reported()["modules"]["sensor"]["runtimeStatus"] == "running"


def test_a_twin_comes_over_websocket_through_a_proxy(tmp_path: Path) -> None:
    """Where only a proxy knows the hub: the way over 8883 is tried first, and in vain."""
    edged = FakeEdged()
    with Lab(tmp_path / "lab", LabSettings(names=("hub.example", "localhost"))) as lab:
        lab.registry.create_device("d1")
        key = next(m for m in lab.registry.modules("d1") if m.module_id == "$edgeAgent")
        workload = FakeWorkload("$edgeAgent", key=key.authentication.keys[0])
        workload.answers["trust-bundle"] = {"certificate": lab.root_pem}
        wanted = {**desired(manifest(sensor=module("sensor:1"))), "trialSeconds": 0}
        lab.store.do(lambda cloud: cloud.twins.set_desired(AGENT, wanted))
        with connect_proxy(lab.https_port) as proxy:
            variables = {
                **environment(tmp_path),
                "IOTEDGE_WORKLOADURI": f"unix://{tmp_path / 'workload.sock'}",
                "IOTEDGE_IOTHUBHOSTNAME": lab.hub_name,
                "IOTEDGE_DEVICEID": "d1",
                "IOTEDGE_MODULEGENERATIONID": "7",
                "https_proxy": f"http://127.0.0.1:{proxy.port}",
            }
            with (
                edged.serving(tmp_path / "mgmt.sock"),
                workload.serving(tmp_path / "workload.sock"),
                agent_process(variables),
            ):
                until(lambda: is_running(edged, "sensor"), "the sensor runs")
                assert invoke(lab, "ping", None)["status"] == 200
        assert proxy.received[0].startswith(b"CONNECT hub.example:443 HTTP/1.1")
