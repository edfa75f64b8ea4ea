"""What the container's environment tells the hub, read strictly (azure-iot-edge.md §5.4, §6).

edged gives IOTEDGE_*, EdgeDeviceHostName and the API's socket; the rest may be set in the
deployment's `env`, under upstream's names where upstream has one:

    StorageFolder              where the store lies; `edgeHub` is made in it
    RuntimeLogLevel            of the log lines
    UpstreamProtocol           Mqtt (default) or MqttWs: over WebSocket, by `https_proxy` if set
    UpstreamPort, UpstreamWebSocketPort   of the cloud or parent: 8883, 443
    mqttSettings__port, httpSettings__port, MetricsPort   what is listened on: 8883, 443, 9600
    MaxConnectedClients        after which clients are refused, at most 4096
    ReportedPropertiesSyncFrequencySecs   how soon changes of the hub's state are reported, 5
    ServerCertificateRenewAfterInMs   longest use of a server certificate, at most 30 days
    UpstreamMessageBytesPerDay   for a link that is paid by the byte; without it there is no limit
    SslProtocols               what clients may speak: `tls1.2, tls1.3`, both by default
    StoreDurability            synced (default), written, memory: docs/store.md
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from skerry.hub.hub import MOST_CLIENTS
from skerry.hub.store.model import Durability
from skerry.module.errors import SurroundingsError
from skerry.module.metrics_server import PORT as METRICS_PORT
from skerry.module.protocol import Protocol, parse_protocol

_DEFAULT_STORAGE = "/var/lib/skerry-hub"
_MOST_PORT = 65535
_RENEW_AFTER, _LONGEST_MS = "ServerCertificateRenewAfterInMs", 30 * 86_400_000
_UPSTREAM = {
    Protocol.MQTT: ("UpstreamPort", 8883),
    Protocol.MQTT_WS: ("UpstreamWebSocketPort", 443),
}
_TLS = {
    "tls1.2": ssl.TLSVersion.TLSv1_2,
    "tls12": ssl.TLSVersion.TLSv1_2,
    "tls1.3": ssl.TLSVersion.TLSv1_3,
    "tls13": ssl.TLSVersion.TLSv1_3,
}
_BUDGET, _MOST_BUDGET = "UpstreamMessageBytesPerDay", 2**63 - 1
_REPORT = "ReportedPropertiesSyncFrequencySecs"


@dataclass(frozen=True)
class Surroundings:
    """Who and where this hub is. `hostname` is the device's, by which its clients dial it."""

    device_id: str
    hub_name: str
    hostname: str
    parent: str
    module_id: str
    generation_id: str
    socket_path: Path
    api_version: str
    storage: Path
    upstream_port: int
    is_web: bool
    """Whether what is above is reached over WebSocket."""
    mqtt_port: int
    https_port: int
    metrics_port: int
    durability: Durability
    renew_after: timedelta
    report_seconds: float
    most_clients: int
    message_bytes_per_day: int | None
    tls: tuple[ssl.TLSVersion, ssl.TLSVersion]
    """The oldest and the newest that is offered to clients."""

    @property
    def has_cloud(self) -> bool:
        """Whether there is anything above: a standalone device is its own hub."""
        return self.hub_name.lower() != self.hostname.lower()

    @property
    def names(self) -> frozenset[str]:
        """Return the names, lower case, that clients may give as their hub."""
        return frozenset({self.hub_name.lower(), self.hostname.lower()})


def read_surroundings(environment: Mapping[str, str]) -> Surroundings:
    """Read the environment. Raises: SurroundingsError, which names the variable."""
    uri = urlsplit(_needed(environment, "IOTEDGE_WORKLOADURI"))
    if uri.scheme != "unix":
        raise SurroundingsError(f"IOTEDGE_WORKLOADURI is {uri.geturl()!r}, expected unix:///path")
    protocol = _protocol(environment)
    return Surroundings(
        device_id=_needed(environment, "IOTEDGE_DEVICEID"),
        hub_name=_needed(environment, "IOTEDGE_IOTHUBHOSTNAME"),
        hostname=_needed(environment, "EdgeDeviceHostName"),
        parent=environment.get("IOTEDGE_GATEWAYHOSTNAME", ""),
        module_id=_needed(environment, "IOTEDGE_MODULEID"),
        generation_id=_needed(environment, "IOTEDGE_MODULEGENERATIONID"),
        socket_path=Path(uri.path),
        api_version=_needed(environment, "IOTEDGE_APIVERSION"),
        storage=Path(environment.get("StorageFolder", _DEFAULT_STORAGE)) / "edgeHub",
        upstream_port=_port(environment, *_UPSTREAM[protocol]),
        is_web=protocol is Protocol.MQTT_WS,
        mqtt_port=_port(environment, "mqttSettings__port", 8883),
        https_port=_port(environment, "httpSettings__port", 443),
        metrics_port=_port(environment, "MetricsPort", METRICS_PORT),
        durability=_durability(environment),
        renew_after=timedelta(
            milliseconds=_number(environment, _RENEW_AFTER, _LONGEST_MS, _LONGEST_MS)
        ),
        most_clients=_number(environment, "MaxConnectedClients", MOST_CLIENTS, MOST_CLIENTS),
        report_seconds=_number(environment, _REPORT, 5, 86_400),
        message_bytes_per_day=(
            _number(environment, _BUDGET, 1, _MOST_BUDGET) if environment.get(_BUDGET) else None
        ),
        tls=_tls(environment),
    )


def _protocol(environment: Mapping[str, str]) -> Protocol:
    text = environment.get("UpstreamProtocol") or Protocol.MQTT
    found = parse_protocol(text)
    if found is None:
        raise SurroundingsError(f"UpstreamProtocol is {text!r}, expected 'Mqtt' or 'MqttWs'")
    return found


def _needed(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SurroundingsError(f"environment variable {name} is not set; edged starts me")
    return value


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or not 0 <= int(text) <= _MOST_PORT:
        raise SurroundingsError(f"{name} is {text!r}, expected a port from 0 to {_MOST_PORT}")
    return int(text)


def _number(environment: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Return a number from 1; `most` when it is larger."""
    text = environment.get(name, str(default))
    if not text.isdecimal() or int(text) == 0:
        raise SurroundingsError(f"{name} is {text!r}, expected a whole number from 1")
    return min(int(text), most)


def _tls(environment: Mapping[str, str]) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
    text = environment.get("SslProtocols", "tls1.2, tls1.3")
    found = [_TLS.get(part.strip().lower()) for part in text.split(",")]
    known = [version for version in found if version is not None]
    if len(known) < len(found):
        raise SurroundingsError(
            f"SslProtocols is {text!r}, expected 'tls1.2', 'tls1.3' or both; older ones are unsafe"
        )
    return min(known), max(known)


def _durability(environment: Mapping[str, str]) -> Durability:
    text = environment.get("StoreDurability", Durability.SYNCED.value)
    try:
        return Durability(text.lower())
    except ValueError:
        known = ", ".join(repr(level.value) for level in Durability)
        raise SurroundingsError(f"StoreDurability is {text!r}, expected one of {known}") from None
