"""The edge agent's container: what it is made of, and what to do about it at any moment.

The agent may put another agent in its place through the management API. So its container carries
the digest of what config.toml says of the agent, and is made anew when that changed and not because
it differs.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from skerry.engine.model import Container
from skerry.identity.client import Identity
from skerry.workloads.container import MANAGEMENT_URI, WORKLOAD_URI
from skerry.workloads.model import CREATE_OPTIONS_LABEL, ENV_LABEL, ModuleSpec, identity_of
from skerry.workloads.settings import Settings

API_VERSION = "2022-08-03"
DIGEST_LABEL = "skerry.agent.configured"
AGENT_UID = 13622
STORAGE = "/var/lib/skerry-agent"
STORAGE_VOLUME = "skerry-agent"
"""Outlives the agent's container. The engine gives a new volume the owner that the image's folder
has, which edged, without rights over other users' files, could not do with a folder of its own."""

_HEALTHY_SECONDS = 600
FIRST_SECONDS = 10.0
_MOST_SECONDS = 300


class Action(Enum):
    """What the agent's container needs."""

    NONE = "none"
    CREATE = "create"
    RECREATE = "recreate"
    START = "start"


def next_action(container: Container | None, digest: str) -> Action:
    """Return what to do about the agent's container as it is."""
    if container is None:
        return Action.CREATE
    if container.labels.get(DIGEST_LABEL) != digest:
        return Action.RECREATE
    if container.state.running:
        return Action.NONE
    startable = {"created", "exited", "restarting"}
    return Action.START if container.state.status in startable else Action.RECREATE


@dataclass(frozen=True)
class Attempts:
    """How often the agent was made or started, and when the next time may be.

    The pause doubles with every attempt, from 10 s to 5 min, and is counted from the attempt: an
    agent that ran longer than its pause is started again at once.
    """

    count: int = 0
    not_before: float = 0.0

    def another(self, now: float, first_seconds: float = FIRST_SECONDS) -> "Attempts":
        """Return the record after one more attempt."""
        pause = min(first_seconds * 2**self.count, _MOST_SECONDS)
        return Attempts(self.count + 1, now + pause)

    def allowed(self, now: float) -> bool:
        return now >= self.not_before

    def exhausted(self, max_retries: int | None) -> bool:
        return max_retries is not None and self.count > max_retries


def has_recovered(running_seconds: float) -> bool:
    """Tell whether a running agent has made up for its failures."""
    return running_seconds >= _HEALTHY_SECONDS


class AgentPlan:
    """What config.toml and the device's identity make of the agent's container."""

    def __init__(self, settings: Settings, state_dir: Path, image_id: str | None) -> None:
        self._settings = settings
        self._state_dir = state_dir
        agent = dataclasses.asdict(settings.agent)
        basis = [agent, settings.hostname, settings.network.name, image_id]
        text = json.dumps(basis, sort_keys=True, default=str)
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    def spec(self) -> ModuleSpec:
        """Return the agent as config.toml has it."""
        agent = self._settings.agent
        return ModuleSpec(
            name=agent.name,
            image=agent.image,
            create_options=agent.create_options,
            env=agent.env,
            auth=agent.auth,
            pull_policy=agent.pull_policy,
            configured=True,
        )

    def complete(
        self, spec: ModuleSpec, device: Identity, generation: str
    ) -> tuple[ModuleSpec, Mapping[str, str]]:
        """Add what every agent needs, whoever asked for it: environment, user, storage, labels."""
        options = dict(spec.create_options)
        options.setdefault("User", f"{AGENT_UID}:{AGENT_UID}")
        host = options.get("HostConfig")
        host = dict(host) if isinstance(host, dict) else {}
        mounts = host.get("Mounts")
        storage = {"Type": "volume", "Source": STORAGE_VOLUME, "Target": STORAGE}
        given = mounts if isinstance(mounts, list) else []
        others = [m for m in given if not (isinstance(m, dict) and m.get("Target") == STORAGE)]
        host["Mounts"] = [*others, storage]
        options["HostConfig"] = host
        env = {**self._environment(device, generation), **spec.env}
        labels = {DIGEST_LABEL: self.digest, CREATE_OPTIONS_LABEL: "{}", ENV_LABEL: "{}"}
        noted = spec.create_options.get("Labels")
        if isinstance(noted, dict):
            labels |= {k: str(noted[k]) for k in (CREATE_OPTIONS_LABEL, ENV_LABEL) if k in noted}
        return dataclasses.replace(spec, create_options=options, env=env), labels

    def _environment(self, device: Identity, generation: str) -> dict[str, str]:
        settings = self._settings
        env = {
            "EdgeDeviceHostName": settings.hostname,
            "IOTEDGE_APIVERSION": API_VERSION,
            "IOTEDGE_AUTHSCHEME": "sasToken",
            "IOTEDGE_DEVICEID": device.device_id,
            "IOTEDGE_IOTHUBHOSTNAME": device.hub_name,
            "IOTEDGE_MODULEID": identity_of(settings.agent.name),
            "IOTEDGE_MODULEGENERATIONID": generation,
            "IOTEDGE_WORKLOADURI": WORKLOAD_URI,
            "IOTEDGE_MANAGEMENTURI": MANAGEMENT_URI,
            "IOTEDGE_WORKLOADLISTEN_MNTURI": f"unix://{self._state_dir / 'mnt'}",
            "Mode": "iotedged",
            "NetworkId": settings.network.name,
            "StorageFolder": STORAGE,
        }
        if device.gateway_host.lower() != device.hub_name.lower():
            env["IOTEDGE_GATEWAYHOSTNAME"] = device.gateway_host
        return env
