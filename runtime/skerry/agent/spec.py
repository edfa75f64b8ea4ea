"""What edged is asked to create for a module: environment, labels, the hub's name on the network.

Sockets and network are edged's to lay out. Only the hub's endpoint is named here: it is also known
by the device's name, so that `IOTEDGE_GATEWAYHOSTNAME` resolves inside modules.
"""

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from skerry.agent.deployment import spec_digest
from skerry.agent.model import HUB_MODULE, Wanted

DIGEST_LABEL = "net.azure-devices.edge.configurationId"
"""The label by which an agent without memory knows what a container was made from."""

HUB_VOLUME, HUB_STORAGE = "skerry-hub", "/var/lib/skerry-hub"
"""Where the hub keeps what it has acknowledged: it outlives the container."""

_PASSED = ("IOTEDGE_AUTHSCHEME", "IOTEDGE_APIVERSION", "IOTEDGE_DEVICEID", "IOTEDGE_IOTHUBHOSTNAME")
_NAMES = (
    "EdgeDeviceHostName",
    "IOTEDGE_DEVICEID",
    "IOTEDGE_GATEWAYHOSTNAME",
    "IOTEDGE_IOTHUBHOSTNAME",
)


@dataclass(frozen=True)
class Surroundings:
    """What the agent got from edged and hands on to modules."""

    environment: Mapping[str, str]

    @property
    def hostname(self) -> str:
        """Return the name of this device, under which modules reach the hub on it."""
        return self.environment.get("EdgeDeviceHostName", "")

    @property
    def network(self) -> str:
        """Return the network of the modules."""
        return self.environment.get("NetworkId", "azure-iot-edge")

    @property
    def context(self) -> str:
        """Return the names of device and hub: a module has to be made anew when they change."""
        names = {name: self.environment.get(name, "") for name in _NAMES}
        return json.dumps(names, sort_keys=True)


def module_environment(
    module: Wanted, generation_id: str, surroundings: Surroundings
) -> dict[str, str]:
    """Return a module's environment: the deployment's values, then upstream's variables."""
    given = surroundings.environment
    found = dict(module.env)
    found |= {name: given[name] for name in _PASSED if name in given}
    found |= {
        "IOTEDGE_MODULEID": module.identity,
        "IOTEDGE_MODULEGENERATIONID": generation_id,
        "IOTEDGE_WORKLOADURI": given["IOTEDGE_WORKLOADURI"],
    }
    parent = given.get("IOTEDGE_GATEWAYHOSTNAME")
    if module.name == HUB_MODULE:
        found["EdgeDeviceHostName"] = surroundings.hostname
        if parent:
            found["IOTEDGE_GATEWAYHOSTNAME"] = parent
    else:
        found["IOTEDGE_GATEWAYHOSTNAME"] = surroundings.hostname
        if parent:
            found["IOTEDGE_PARENTHOSTNAME"] = parent
    found.setdefault("RuntimeLogLevel", given.get("RuntimeLogLevel", "Information"))
    if "UpstreamProtocol" in given and not any(k.lower() == "upstreamprotocol" for k in found):
        found["UpstreamProtocol"] = given["UpstreamProtocol"]
    return found


def module_spec(
    module: Wanted, generation_id: str, surroundings: Surroundings
) -> dict[str, object]:
    """Return the body that the management API takes for a module."""
    environment = module_environment(module, generation_id, surroundings)
    settings: dict[str, object] = {
        "image": module.image,
        "createOptions": create_options(module, surroundings),
    }
    if module.auth is not None:
        settings["auth"] = dict(module.auth)
    config: dict[str, object] = {
        "settings": settings,
        "env": [{"key": key, "value": environment[key]} for key in sorted(environment)],
    }
    if module.secrets:
        config["secrets"] = list(module.secrets)
    if module.signatures:
        config["signatures"] = [dict(one) for one in module.signatures]
    return {
        "name": module.name,
        "type": "docker",
        "imagePullPolicy": module.pull_policy,
        "config": config,
    }


def create_options(module: Wanted, surroundings: Surroundings) -> dict[str, object]:
    """Return the module's create options with what the agent adds to them."""
    options = dict(module.create_options)
    labels = options.get("Labels")
    options["Labels"] = {
        **(labels if isinstance(labels, dict) else {}),
        DIGEST_LABEL: spec_digest(module),
    }
    if module.name == HUB_MODULE:
        _complete_hub(module, options, surroundings)
    return options


def _complete_hub(module: Wanted, options: dict[str, object], surroundings: Surroundings) -> None:
    """Give the hub its name on the network, and its volume unless the deployment says where."""
    given = options.get("HostConfig")
    host = dict(given) if isinstance(given, dict) else {}
    if not _names_a_network(options):
        endpoint = {"Aliases": [surroundings.hostname]}
        options["NetworkingConfig"] = {"EndpointsConfig": {surroundings.network: endpoint}}
        host["NetworkMode"] = surroundings.network
    if "StorageFolder" not in module.env and not any(map(_is_hub_storage, _targets(host))):
        host["Binds"] = [*(host.get("Binds") or []), f"{HUB_VOLUME}:{HUB_STORAGE}"]
    options["HostConfig"] = host


def _is_hub_storage(target: str) -> bool:
    return posixpath.normpath(target) == HUB_STORAGE


def _targets(host: Mapping[str, object]) -> list[str]:
    binds, mounts = host.get("Binds"), host.get("Mounts")
    found = []
    if isinstance(binds, list):
        found += [str(bind).split(":")[1] for bind in binds if ":" in str(bind)]
    if isinstance(mounts, list):
        found += [str(mount.get("Target")) for mount in mounts if isinstance(mount, dict)]
    return found


def _names_a_network(options: Mapping[str, object]) -> bool:
    networking, host = options.get("NetworkingConfig"), options.get("HostConfig")
    endpoints = networking.get("EndpointsConfig") if isinstance(networking, dict) else None
    mode = host.get("NetworkMode") if isinstance(host, dict) else None
    return bool(endpoints) or mode not in {None, "", "default"}
