"""The edge agent's container: what it is made of, and what to do about it."""

from pathlib import Path

import pytest

from skerry.engine.model import Container, State
from skerry.identity.client import Identity
from skerry.workloads.agent import (
    DIGEST_LABEL,
    Action,
    AgentPlan,
    Attempts,
    has_recovered,
    next_action,
)
from skerry.workloads.settings import Settings, parse_settings

STATE = Path("/var/lib/skerry/edged")
DEVICE = Identity("hub.example", "hub.example", "pump-station-7", None, None, "x509", "handle")


def settings(**agent: object) -> Settings:
    table = {
        "name": "edgeAgent",
        "type": "docker",
        "config": {"image": "localhost/skerry/agent:1"},
        **agent,
    }
    return parse_settings({"hostname": "station", "agent": table})


def plan(image_id: str | None = "sha256:1", **agent: object) -> AgentPlan:
    return AgentPlan(settings(**agent), STATE, image_id)


def container(status: str, digest: str = "d") -> Container:
    return Container("c", "edgeAgent", "x", "sha256:1", {DIGEST_LABEL: digest}, State(status))


@pytest.mark.parametrize(
    ("found", "action"),
    [
        pytest.param(None, Action.CREATE, id="missing"),
        pytest.param(container("running"), Action.NONE, id="running"),
        pytest.param(container("created"), Action.START, id="created"),
        pytest.param(container("exited"), Action.START, id="exited"),
        pytest.param(container("dead"), Action.RECREATE, id="dead"),
        pytest.param(container("removing"), Action.RECREATE, id="being removed"),
        pytest.param(container("running", "old"), Action.RECREATE, id="configured anew"),
    ],
)
def test_what_the_agent_s_container_needs(found: Container | None, action: Action) -> None:
    """A running agent is left alone, unless config.toml says something else of it now."""
    assert next_action(found, "d") is action


def test_attempts_back_off_and_stop_growing() -> None:
    """10, 20, 40 … seconds between attempts, never more than five minutes."""
    attempts, now = Attempts(), 1000.0
    pauses = []
    for _ in range(7):
        assert attempts.allowed(now)
        attempts = attempts.another(now)
        assert not attempts.allowed(now)
        pauses.append(attempts.not_before - now)
        now = attempts.not_before
    assert pauses == [10, 20, 40, 80, 160, 300, 300]


def test_attempts_are_limited_only_where_settings_say_so() -> None:
    """Infinite is the default; with 2 the third failure is the last."""
    three = Attempts(count=3)
    assert three.exhausted(2)
    assert not Attempts(count=2).exhausted(2)
    assert not Attempts(count=1000).exhausted(None)


def test_ten_healthy_minutes_make_up_for_failures() -> None:
    """The count begins anew."""
    assert not has_recovered(599)
    assert has_recovered(600)


def test_the_agent_gets_upstream_s_environment() -> None:
    """Identity, sockets, network; what config.toml sets wins."""
    configured = plan(env={"Mode": "test", "RuntimeLogLevel": "debug"})
    spec, _ = configured.complete(configured.spec(), DEVICE, "gen-1")
    assert spec.env == {
        "EdgeDeviceHostName": "station",
        "IOTEDGE_APIVERSION": "2022-08-03",
        "IOTEDGE_AUTHSCHEME": "sasToken",
        "IOTEDGE_DEVICEID": "pump-station-7",
        "IOTEDGE_IOTHUBHOSTNAME": "hub.example",
        "IOTEDGE_MODULEID": "$edgeAgent",
        "IOTEDGE_MODULEGENERATIONID": "gen-1",
        "IOTEDGE_WORKLOADURI": "unix:///run/iotedge/workload.sock",
        "IOTEDGE_MANAGEMENTURI": "unix:///run/iotedge/mgmt.sock",
        "IOTEDGE_WORKLOADLISTEN_MNTURI": "unix:///var/lib/skerry/edged/mnt",
        "Mode": "test",
        "NetworkId": "azure-iot-edge",
        "RuntimeLogLevel": "debug",
        "StorageFolder": "/var/lib/skerry-agent",
    }


def test_a_gateway_is_named_only_where_it_is_not_the_hub() -> None:
    """Nested devices reach the hub through their parent."""
    nested = Identity("hub.example", "Parent", "d", None, None, None, None)
    spec, _ = plan().complete(plan().spec(), nested, "g")
    assert spec.env["IOTEDGE_GATEWAYHOSTNAME"] == "Parent"


def test_the_agent_keeps_its_storage_and_is_not_root() -> None:
    """A volume of the engine's, so that its files outlive the container; other mounts stay."""
    options = {"HostConfig": {"Mounts": [{"Type": "volume", "Source": "v", "Target": "/v"}]}}
    configured = plan(config={"image": "x", "createOptions": options})
    spec, _ = configured.complete(configured.spec(), DEVICE, "g")
    assert spec.create_options["User"] == "13622:13622"
    assert spec.create_options["HostConfig"] == {
        "Mounts": [
            {"Type": "volume", "Source": "v", "Target": "/v"},
            {"Type": "volume", "Source": "skerry-agent", "Target": "/var/lib/skerry-agent"},
        ]
    }
    assert options == {
        "HostConfig": {"Mounts": [{"Type": "volume", "Source": "v", "Target": "/v"}]}
    }


def test_a_user_of_its_own_is_kept() -> None:
    """An agent image that drops its rights itself starts as root."""
    configured = plan(config={"image": "x", "createOptions": {"User": "root"}})
    spec, _ = configured.complete(configured.spec(), DEVICE, "g")
    assert spec.create_options["User"] == "root"


def test_the_digest_follows_configuration_and_image() -> None:
    """Another environment, or another image under the same name, makes another container."""
    same = plan().digest
    assert plan().digest == same
    assert plan(env={"A": "1"}).digest != same
    assert plan(image_id="sha256:2").digest != same
    _, labels = plan().complete(plan().spec(), DEVICE, "g")
    assert labels[DIGEST_LABEL] == same
