"""What edged is asked to create for a module: environment, sockets, network."""

from collections.abc import Mapping
from dataclasses import dataclass

from skerry.agent.model import Wanted

_PASSED = ("IOTEDGE_AUTHSCHEME", "IOTEDGE_APIVERSION", "IOTEDGE_DEVICEID", "IOTEDGE_IOTHUBHOSTNAME")


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
        """Return the network that modules are attached to."""
        return self.environment.get("NetworkId", "azure-iot-edge")


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
    if module.identity.startswith("$"):
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
    return {
        "name": module.name,
        "type": "docker",
        "imagePullPolicy": module.pull_policy,
        "config": {
            "settings": {
                "image": module.image,
                "createOptions": create_options(module, surroundings),
            },
            "env": [{"key": key, "value": environment[key]} for key in sorted(environment)],
        },
    }


def create_options(module: Wanted, surroundings: Surroundings) -> dict[str, object]:
    """Return the module's create options, with our network unless they name one.

    The hub is also known by the device's name there, so that `IOTEDGE_GATEWAYHOSTNAME` resolves.
    """
    options = dict(module.create_options)
    networking = options.get("NetworkingConfig")
    endpoints = networking.get("EndpointsConfig") if isinstance(networking, dict) else None
    if not endpoints:
        endpoint = {"Aliases": [surroundings.hostname]} if module.identity == "$edgeHub" else {}
        options["NetworkingConfig"] = {"EndpointsConfig": {surroundings.network: endpoint}}
    return options
