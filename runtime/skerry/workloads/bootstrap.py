"""From a started edged to an agent that runs: one function a step, each safe to repeat.

A step raises what it could not do; the supervisor says so and tries again. On disk:

    <state>/cache/provisioning_state    digest of the identity that the containers here belong to
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from skerry.base.errors import SkerryError
from skerry.base.files import write_atomic
from skerry.base.log import Logger
from skerry.engine.errors import EngineConflictError
from skerry.engine.model import Engine
from skerry.identity.client import Identity, IdentityClient
from skerry.workloads.device import Device
from skerry.workloads.edge_ca import EdgeCa
from skerry.workloads.images import Images
from skerry.workloads.modules import Modules
from skerry.workloads.settings import NetworkSettings, ReprovisioningMode, Settings


class Bootstrap:
    """The steps before the agent.

    `certificates_changed` is called when a service may have got something that it has to renew.
    """

    def __init__(
        self,
        settings: Settings,
        state_dir: Path,
        device: Device,
        identities: IdentityClient,
        edge_ca: EdgeCa,
        engine: Engine,
        images: Images,
        modules: Modules,
        log: Logger,
        certificates_changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._cache = state_dir / "cache"
        self._device = device
        self._identities = identities
        self._edge_ca = edge_ca
        self._engine = engine
        self._images = images
        self._modules = modules
        self._log = log
        self._certificates_changed = certificates_changed
        self._reprovisioned = settings.reprovisioning is not ReprovisioningMode.ALWAYS_ON_STARTUP

    def steps(self) -> list[tuple[str, Callable[[], object]]]:
        """Return the steps in their order."""
        return [
            ("device identity", self._identify),
            ("edge CA", self.ensure_edge_ca),
            ("container engine", self._engine.info),
            # running modules wait for their sockets: whatever takes long comes after
            ("containers of this identity", self._keep_own),
            ("module sockets", self._modules.adopt),
            ("module network", self._network),
            ("images", self._images.load_missing),
        ]

    def reprovision(self) -> None:
        """Have the device provisioned again; the next start makes every container anew.

        Until identityd has the new identity nothing changes here: the modules keep the old one.
        """
        self._identities.reprovision()
        shutil.rmtree(self._cache, ignore_errors=True)

    def ensure_edge_ca(self) -> None:
        """See to it that the edge CA is in force; it is looked at again when it is due."""
        self._edge_ca.ensure()
        self._certificates_changed()

    def edge_ca_is_due(self) -> bool:
        return self._edge_ca.is_due()

    def _identify(self) -> None:
        if not self._reprovisioned:
            try:
                self._identities.reprovision()
            except SkerryError as error:
                # without the network a device goes on as what it was
                self._log.warning("not provisioned again; the former identity serves", reason=error)
            self._reprovisioned = True
        self._device.set(self._identities.device())

    def _network(self) -> None:
        wanted = self._settings.network
        if not self._engine.networks(wanted.name):
            try:
                self._engine.create_network(network_body(wanted))
            except EngineConflictError:
                return  # made by somebody else in between
            self._log.info("network created", network=wanted.name)

    def _keep_own(self) -> None:
        digest = identity_digest(self._device.identity())
        file = self._cache / "provisioning_state"
        if file.is_file() and file.read_text("ascii") == digest:
            return
        for module in self._modules.all():
            self._log.warning("container of a former identity removed", module=module.name)
            self._modules.remove(module.name)
        self._cache.mkdir(mode=0o700, exist_ok=True)
        write_atomic(file, digest.encode("ascii"), mode=0o600)


def network_body(network: NetworkSettings) -> dict[str, object]:
    """Return the engine's body of the modules' network."""
    body: dict[str, object] = {"Name": network.name, "Driver": "bridge"}
    if network.ipv6:
        body["EnableIPv6"] = True
    if network.ipam:
        body["IPAM"] = {"Driver": "default", "Config": [dict(entry) for entry in network.ipam]}
    return body


def identity_digest(identity: Identity) -> str:
    """Return what tells one identity of this device from another."""
    text = json.dumps(
        {
            "device_id": identity.device_id,
            "gateway_host_name": identity.gateway_host,
            "hub_name": identity.hub_name,
        },
        separators=(",", ":"),
    )
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
