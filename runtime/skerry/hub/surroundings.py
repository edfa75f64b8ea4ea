"""What the container's environment tells the hub, read strictly (azure-iot-edge.md §5.4, §6).

edged gives IOTEDGE_*, EdgeDeviceHostName and the API's socket; the rest may be set in the
deployment's `env`, under upstream's names where upstream has one:

    StorageFolder              where the store lies; `edgeHub` is made in it
    RuntimeLogLevel            of the log lines
    UpstreamPort               of MQTT at the cloud or parent, 8883
    mqttSettings__port, httpSettings__port, MetricsPort   what is listened on: 8883, 443, 9600
    MaxConnectedClients        after which clients are refused, at most 4096
    ReportedPropertiesSyncFrequencySecs   how soon changes of the hub's state are reported, 5
    ServerCertificateRenewAfterInMs   longest use of a server certificate, at most 30 days
    StoreDurability            synced (default), written, memory: docs/store.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from skerry.hub.hub import MOST_CLIENTS
from skerry.hub.store.model import Durability
from skerry.module.errors import SurroundingsError
from skerry.module.metrics_server import PORT as METRICS_PORT

_DEFAULT_STORAGE = "/var/lib/skerry-hub"
_MOST_PORT = 65535
_RENEW_AFTER, _LONGEST_MS = "ServerCertificateRenewAfterInMs", 30 * 86_400_000
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
    mqtt_port: int
    https_port: int
    metrics_port: int
    durability: Durability
    renew_after: timedelta
    report_seconds: float
    most_clients: int

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
        upstream_port=_port(environment, "UpstreamPort", 8883),
        mqtt_port=_port(environment, "mqttSettings__port", 8883),
        https_port=_port(environment, "httpSettings__port", 443),
        metrics_port=_port(environment, "MetricsPort", METRICS_PORT),
        durability=_durability(environment),
        renew_after=timedelta(
            milliseconds=_number(environment, _RENEW_AFTER, _LONGEST_MS, _LONGEST_MS)
        ),
        most_clients=_number(environment, "MaxConnectedClients", MOST_CLIENTS, MOST_CLIENTS),
        report_seconds=_number(environment, _REPORT, 5, 86_400),
    )


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


def _durability(environment: Mapping[str, str]) -> Durability:
    text = environment.get("StoreDurability", Durability.SYNCED.value)
    try:
        return Durability(text.lower())
    except ValueError:
        known = ", ".join(repr(level.value) for level in Durability)
        raise SurroundingsError(f"StoreDurability is {text!r}, expected one of {known}") from None
