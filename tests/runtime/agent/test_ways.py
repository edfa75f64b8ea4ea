"""Which ways lead to the hub, by the environment."""

import pytest

from skerry.agent.errors import AgentError
from skerry.agent.ways import ways_of
from skerry.base.https import Proxy

BOTH = ["Mqtt on port 8883", "MqttWs on port 443"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, BOTH),
        ({"UpstreamProtocol": ""}, BOTH),
        ({"UpstreamProtocol": "Mqtt"}, BOTH[:1]),
        ({"UpstreamProtocol": "mqttws"}, BOTH[1:]),
        ({"UpstreamProtocol": "Amqp"}, BOTH[:1]),
        ({"UpstreamProtocol": "AmqpWs"}, BOTH[1:]),
        (
            {"UpstreamPort": "1", "UpstreamWebSocketPort": "2"},
            ["Mqtt on port 1", "MqttWs on port 2"],
        ),
    ],
)
def test_the_protocol_chooses_the_way(environment: dict[str, str], expected: list[str]) -> None:
    """Without it both are tried; the names of AMQP mean its ports' likes."""
    assert [str(way) for way in ways_of(environment, None)] == expected


def test_a_proxy_is_for_websocket_only() -> None:
    """As upstream has it."""
    proxy = Proxy("http://proxy.example:3128")
    assert [way.proxy for way in ways_of({}, proxy)] == [None, proxy]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"UpstreamProtocol": "Http"}, "UpstreamProtocol is 'Http', expected 'Mqtt' or 'MqttWs'"),
        ({"UpstreamPort": "x"}, "UpstreamPort is 'x', expected a number"),
    ],
)
def test_a_wrong_way_is_told(environment: dict[str, str], message: str) -> None:
    """With what was expected."""
    with pytest.raises(AgentError, match=message):
        ways_of(environment, None)
