"""What edged is asked to create: environment rules, labels, networks."""

import pytest

from harness.agents import ENVIRONMENT
from skerry.agent.model import Wanted
from skerry.agent.spec import DIGEST_LABEL, Surroundings, create_options, module_environment

SENSOR = Wanted("sensor", "sensor:1")
HUB = Wanted("edgeHub", "hub:1")


def test_in_a_hierarchy_modules_know_the_parent() -> None:
    """The gateway of a module is this device; of the hub it is the parent."""
    nested = Surroundings({**ENVIRONMENT, "IOTEDGE_GATEWAYHOSTNAME": "parent"})
    sensor = module_environment(SENSOR, "1", nested)
    assert sensor["IOTEDGE_GATEWAYHOSTNAME"] == "house"
    assert sensor["IOTEDGE_PARENTHOSTNAME"] == "parent"
    assert module_environment(HUB, "1", nested)["IOTEDGE_GATEWAYHOSTNAME"] == "parent"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param({}, "Mqtt", id="the agent's"),
        pytest.param({"UpstreamProtocol": "Amqp"}, "Amqp", id="the module's"),
        pytest.param({"upstreamprotocol": "Amqp"}, None, id="the module's, in lower case"),
    ],
)
def test_the_upstream_protocol_is_handed_on(own: dict[str, str], expected: str | None) -> None:
    """Unless the deployment names one, in any case of letters."""
    surroundings = Surroundings({**ENVIRONMENT, "UpstreamProtocol": "Mqtt"})
    module = Wanted("sensor", "sensor:1", env=own)
    assert module_environment(module, "1", surroundings).get("UpstreamProtocol") == expected


def test_a_module_cannot_name_itself_otherwise() -> None:
    """What the agent sets wins over the deployment's environment."""
    module = Wanted("sensor", "sensor:1", env={"IOTEDGE_MODULEID": "other"})
    found = module_environment(module, "1", Surroundings(ENVIRONMENT))
    assert found["IOTEDGE_MODULEID"] == "sensor"


def test_labels_of_the_deployment_stay() -> None:
    """The digest is added to them."""
    module = Wanted("sensor", "sensor:1", create_options={"Labels": {"site": "a"}})
    labels = create_options(module, Surroundings(ENVIRONMENT))["Labels"]
    assert isinstance(labels, dict)
    assert labels["site"] == "a"
    assert len(labels[DIGEST_LABEL]) == 64


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"NetworkingConfig": {"EndpointsConfig": {"host": {}}}}, id="endpoints"),
        pytest.param({"HostConfig": {"NetworkMode": "host"}}, id="mode"),
    ],
)
def test_a_network_of_the_deployment_stays(options: dict[str, object]) -> None:
    """A hub that names its network gets no other."""
    module = Wanted("edgeHub", "hub:1", create_options=options)
    found = create_options(module, Surroundings(ENVIRONMENT))
    assert found.get("NetworkingConfig") == options.get("NetworkingConfig")
    given, host = options.get("HostConfig", {}), found["HostConfig"]
    assert isinstance(given, dict)
    assert isinstance(host, dict)
    assert host.get("NetworkMode") == given.get("NetworkMode")


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (HUB, ["skerry-hub:/var/lib/skerry-hub"]),
        (
            Wanted("edgeHub", "hub:1", create_options={"HostConfig": {"Binds": ["/a:/b"]}}),
            ["/a:/b", "skerry-hub:/var/lib/skerry-hub"],
        ),
        (
            Wanted(
                "edgeHub",
                "hub:1",
                create_options={"HostConfig": {"Binds": ["/disk:/var/lib/skerry-hub/:rw"]}},
            ),
            ["/disk:/var/lib/skerry-hub/:rw"],
        ),
        (
            Wanted(
                "edgeHub",
                "hub:1",
                create_options={"HostConfig": {"Mounts": [{"Target": "/var/lib/skerry-hub"}]}},
            ),
            None,
        ),
        (Wanted("edgeHub", "hub:1", env={"StorageFolder": "/elsewhere"}), None),
        (Wanted("sensor", "hub:1"), None),
    ],
)
def test_what_the_hub_keeps_outlives_its_container(
    module: Wanted, expected: list[str] | None
) -> None:
    """It gets a volume, unless the deployment says where its store lies."""
    host = create_options(module, Surroundings(ENVIRONMENT)).get("HostConfig") or {}
    assert isinstance(host, dict)
    assert host.get("Binds") == expected
