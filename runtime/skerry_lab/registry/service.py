"""What may be done to the registry: create, update under an etag, delete. No HTTP, no rights.

An `if_match` of None means "create", `*` any version, anything else the etag expected.
"""

import base64
import secrets
from collections.abc import Callable
from dataclasses import replace

from skerry.base.clock import Clock
from skerry.wire.identity import Identity
from skerry_lab.outbox import Kind, Notice, Outbox
from skerry_lab.registry.errors import (
    HubError,
    bad_argument,
    changed_meanwhile,
    no_device,
    no_module,
)
from skerry_lab.registry.hierarchy import Hierarchy
from skerry_lab.registry.model import (
    EDGE_HUB,
    EDGE_MODULES,
    MAX_MODULES,
    Authentication,
    AuthType,
    Device,
    Module,
)
from skerry_lab.registry.store import RegistryStore

ANY = "*"
_KEY_BYTES = 32


class Registry:
    """Devices and their modules. To be called on the database's thread."""

    def __init__(
        self,
        store: RegistryStore,
        outbox: Outbox,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.store = store
        self.hierarchy = Hierarchy(store)
        self._outbox = outbox
        self._forget: list[Callable[[Identity], None]] = []
        self._look: list[Callable[[Identity], None]] = []
        self._clock = clock
        self._random_bytes = random_bytes

    def on_removal(self, forget: Callable[[Identity], None]) -> None:
        """Have something removed with each device or module, in the same transaction."""
        self._forget.append(forget)

    def on_change(self, look: Callable[[Identity], None]) -> None:
        """Have something look at each device or module that is stored, in the same transaction."""
        self._look.append(look)

    def fresh_keys(self) -> Authentication:
        """Return two new symmetric keys."""
        return Authentication(AuthType.SAS, self._key(), self._key())

    def device(self, device_id: str) -> Device:
        """Return a device. Raises: HubError 404."""
        found = self.store.device(device_id)
        if found is None:
            raise no_device(device_id)
        return found

    def module(self, device_id: str, module_id: str) -> Module:
        """Return a module. Raises: HubError 404."""
        self.device(device_id)
        found = self.store.module(device_id, module_id)
        if found is None:
            raise no_module(device_id, module_id)
        return found

    def put_device(self, wanted: Device, if_match: str | None = None) -> Device:
        """Create or update a device; an edge device gets its system modules.

        Raises: HubError 400, 404, 409, 412.
        """
        former = self.store.device(wanted.device_id)
        if if_match is None and former is not None:
            raise HubError(
                409,
                "DeviceAlreadyExists",
                f"A device with ID '{wanted.device_id}' is already registered",
            )
        if if_match is not None:
            if former is None:
                raise no_device(wanted.device_id)
            _check(if_match, former.etag)
        generation = former.generation_id if former else self._generation()
        same_status = former is not None and former.status is wanted.status
        device = replace(
            wanted,
            generation_id=generation,
            etag=self._etag(),
            status_updated=former.status_updated if former and same_status else self._clock.now(),
        )
        device = self.hierarchy.placed(device, former)
        self.store.put_device(device)
        self._tell(Identity(device.device_id))
        self._tell_below(device)
        if device.edge:
            self._add_edge_modules(device.device_id)
        self._changed(Identity(device.device_id))
        return device

    def set_parent(self, device_id: str, parent_id: str | None) -> Device:
        """Put a device below an edge device, or below none. Raises: HubError 400, 404."""
        device, scopes = self.device(device_id), tuple[str, ...]()
        if parent_id is not None:
            parent = self.device(parent_id)
            if not parent.edge or parent.scope is None:
                raise bad_argument(f"device {parent_id!r} is no edge device, so it has no children")
            scopes = (parent.scope,)
        own = device.scope if device.edge else None
        return self.put_device(replace(device, scope=own, parent_scopes=scopes), ANY)

    def delete_device(self, device_id: str, if_match: str = ANY) -> None:
        """Remove a device and its modules; its children are nobody's. Raises: HubError 404, 412."""
        device = self.device(device_id)
        _check(if_match, device.etag)
        self._tell_below(device)
        for child in self.hierarchy.children(device):
            self.set_parent(child.device_id, None)
        for module in self.store.modules(device_id):
            self._removed(Identity(device_id, module.module_id))
        self.store.delete_device(device_id)
        self._removed(Identity(device_id))

    def put_module(self, wanted: Module, if_match: str | None = None) -> Module:
        """Create or update a module. Raises: HubError 403 (too many), 404, 409, 412."""
        device_id, module_id = wanted.device_id, wanted.module_id
        self.device(device_id)
        former = self.store.module(device_id, module_id)
        if if_match is None and former is not None:
            raise HubError(
                409,
                "ModuleAlreadyExistsOnDevice",
                f"Module {module_id} already exists on device {device_id}",
            )
        if if_match is not None:
            if former is None:
                raise no_module(device_id, module_id)
            _check(if_match, former.etag)
        elif len(self.store.modules(device_id)) >= MAX_MODULES:
            raise HubError(
                403,
                "TooManyModulesOnDevice",
                f"Device {device_id} has {MAX_MODULES} modules, which is the most there may be",
            )
        generation = former.generation_id if former else self._generation()
        module = replace(wanted, generation_id=generation, etag=self._etag())
        self.store.put_module(module)
        self._tell(Identity(device_id, module_id))
        self._hub_changed(device_id, module_id)
        self._changed(Identity(device_id, module_id))
        return module

    def delete_module(self, device_id: str, module_id: str, if_match: str = ANY) -> None:
        """Remove a module. Raises: HubError 404, 412."""
        _check(if_match, self.module(device_id, module_id).etag)
        self.store.delete_module(device_id, module_id)
        self._removed(Identity(device_id, module_id))
        self._hub_changed(device_id, module_id)

    def _add_edge_modules(self, device_id: str) -> None:
        present = {module.module_id for module in self.store.modules(device_id)}
        for module_id in EDGE_MODULES:
            if module_id not in present:
                keys = self.fresh_keys()
                self.put_module(Module(device_id, module_id, keys, managed_by="IotEdge"))

    def _removed(self, identity: Identity) -> None:
        for forget in self._forget:
            forget(identity)
        self._tell(identity)

    def _tell_below(self, device: Device) -> None:
        """Have those looked at for whom the device's hub may be connected."""
        for below in self.hierarchy.below(device):
            self._tell(Identity(below.device_id))

    def _hub_changed(self, device_id: str, module_id: str) -> None:
        if module_id == EDGE_HUB:
            self._tell(Identity(device_id))
            self._tell_below(self.device(device_id))

    def _changed(self, identity: Identity) -> None:
        for look in self._look:
            look(identity)

    def _tell(self, identity: Identity) -> None:
        self._outbox.put(Notice(Kind.IDENTITY, identity))

    def _key(self) -> str:
        return base64.b64encode(self._random_bytes(_KEY_BYTES)).decode()

    def _generation(self) -> str:
        # As IoT Hub's: digits only, larger for a later one, never the same twice.
        tail = int.from_bytes(self._random_bytes(2))
        return f"{int(self._clock.now().timestamp() * 1000)}{tail:05d}"

    def _etag(self) -> str:
        return base64.b64encode(self._random_bytes(9)).decode()


def _check(if_match: str, etag: str) -> None:
    if if_match not in (ANY, etag):
        raise changed_meanwhile(if_match, etag)
