"""How MQTT is carried to what is above: `UpstreamProtocol`, of agent and hub.

The names of AMQP, which upstream knows too, mean the port that goes with them.
Source: azure-iot-edge.md §5.2, §6.10.
"""

from enum import StrEnum


class Protocol(StrEnum):
    """How MQTT is carried."""

    MQTT = "Mqtt"
    MQTT_WS = "MqttWs"


_MEANT = {
    "mqtt": Protocol.MQTT,
    "amqp": Protocol.MQTT,
    "mqttws": Protocol.MQTT_WS,
    "amqpws": Protocol.MQTT_WS,
}


def parse_protocol(text: str) -> Protocol | None:
    """Return what a name means, in any case; None when it is none."""
    return _MEANT.get(text.lower())
