"""Twins as the service side sees them: with what the registry knows and whether one is connected.

Pages are read in the order of device and module ids, so that whoever goes through all twins may let
other work in between. What a page misses because it changes meanwhile, the next look shows.
"""

from collections.abc import Sequence

from skerry.wire.identity import Identity
from skerry_lab.configurations.store import ConfigurationStore
from skerry_lab.registry.model import Authentication, Device, Module
from skerry_lab.registry.presence import Presence
from skerry_lab.registry.service import Registry
from skerry_lab.twins.model import Twin
from skerry_lab.twins.service import Twins

View = dict[str, object]

_NEVER = "0001-01-01T00:00:00Z"


class Views:
    """To be called on the database's thread."""

    def __init__(
        self,
        registry: Registry,
        twins: Twins,
        presence: Presence,
        configurations: ConfigurationStore,
    ) -> None:
        self._registry = registry
        self._twins = twins
        self._presence = presence
        self._configurations = configurations

    def of(self, identity: Identity) -> View:
        """Return the twin of a device or module. Raises: HubError 404."""
        device = self._registry.device(identity.device_id)
        module = None
        if identity.module_id is not None:
            module = self._registry.module(identity.device_id, identity.module_id)
        twin = self._twins.store.get(identity)
        return self._view(device, module, twin, self._configurations.status(identity))

    def devices_after(self, device_id: str, limit: int) -> list[tuple[Identity, View]]:
        """Return the next devices, fewer than `limit` at the end."""
        devices = list(self._registry.store.devices(limit, device_id))
        identities = [Identity(device.device_id) for device in devices]
        twins = self._twins_of(Identity(device_id), identities)
        statuses = self._statuses(Identity(device_id), identities)
        return [
            (identity, self._view(device, None, twin, statuses.get(identity, {})))
            for identity, device, twin in zip(identities, devices, twins, strict=True)
        ]

    def modules_after(self, identity: Identity, limit: int) -> list[tuple[Identity, View]]:
        """Return the next modules, fewer than `limit` at the end."""
        modules = self._registry.store.modules_after(identity, limit)
        identities = [Identity(module.device_id, module.module_id) for module in modules]
        twins = self._twins_of(identity, identities)
        statuses = self._statuses(identity, identities)
        device: Device | None = None
        found = []
        for one, module, twin in zip(identities, modules, twins, strict=True):
            if device is None or device.device_id != module.device_id:
                device = self._registry.device(module.device_id)
            found.append((one, self._view(device, module, twin, statuses.get(one, {}))))
        return found

    def _twins_of(self, after: Identity, identities: Sequence[Identity]) -> list[Twin]:
        if not identities:
            return []
        found = dict(self._twins.store.between(after, identities[-1]))
        empty = Twin()
        return [found.get(identity, empty) for identity in identities]

    def _statuses(self, after: Identity, identities: Sequence[Identity]) -> dict[Identity, View]:
        return self._configurations.statuses(after, identities[-1]) if identities else {}

    def _view(
        self, device: Device, module: Module | None, twin: Twin, configurations: View
    ) -> View:
        identity = Identity(device.device_id, module.module_id if module else None)
        of = module or device
        connected = self._presence.is_connected(identity)
        changed = device.status_updated
        return {
            "deviceId": device.device_id,
            **({"moduleId": module.module_id} if module else {}),
            "etag": twin.etag,
            "deviceEtag": of.etag,
            "status": device.status.value,
            "statusReason": device.status_reason,
            "statusUpdateTime": changed.isoformat() if changed else _NEVER,
            "connectionState": "Connected" if connected else "Disconnected",
            "lastActivityTime": _NEVER,
            "cloudToDeviceMessageCount": 0,
            "authenticationType": of.authentication.type.value,
            "x509Thumbprint": _thumbprints(of.authentication),
            "modelId": "",
            "version": twin.version,
            "tags": dict(twin.tags),
            "properties": {
                "desired": twin.desired.to_json(),
                "reported": twin.reported.to_json(),
            },
            **({"configurations": configurations} if configurations else {}),
            **({} if module else _of_device(device)),
        }


def _of_device(device: Device) -> View:
    return {
        "capabilities": {"iotEdge": device.edge},
        "deviceScope": device.scope,
        "parentScopes": list(device.parent_scopes),
    }


def _thumbprints(auth: Authentication) -> View:
    return {
        "primaryThumbprint": auth.primary_thumbprint or None,
        "secondaryThumbprint": auth.secondary_thumbprint or None,
    }
