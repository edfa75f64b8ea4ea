"""Module identities: what both kinds share, and those of a standalone device.

A module's keys are derived in keyd from the device's master key, the module's name and its
generation (azure-iot-edge.md §2.5), so they need no store and change with the generation.
"""

import threading
import uuid
from collections.abc import Callable
from typing import Protocol

from skerry.identity.model import (
    BY_PRINCIPAL,
    MASTER_KEY_ID,
    Module,
    check_module_id,
    derivation_data,
)
from skerry.identity.store import ModuleStore
from skerry.keys.client import KeysClient

MANAGED_BY = "iotedge"


class Modules(Protocol):
    """Creates, finds and removes the module identities of one device."""

    def all(self) -> list[Module]:
        """Return every module."""

    def get(self, module_id: str) -> Module:
        """Return a module; raises ParameterError."""

    def ensure(self, module_id: str, managed_by: str = MANAGED_BY) -> Module:
        """Return the module, made if absent; raises ParameterError for an unusable id."""

    def delete(self, module_id: str) -> None:
        """Remove a module; one of the same id made later has other keys."""


class ModuleKeys:
    """The keys of modules, by handle or, for the hub, as bytes."""

    def __init__(self, keys: KeysClient) -> None:
        self._keys = keys

    def handle(self, module: Module, which: str = "primary") -> str:
        """Return the handle of a module's primary or secondary key."""
        master = self._keys.create_key(MASTER_KEY_ID)
        return self._keys.derive(master, derivation_data(module, which))

    def both(self, module: Module) -> tuple[bytes, bytes]:
        """Return the primary and the secondary key, 32 bytes each."""
        primary, secondary = (
            self._keys.export_derived(self.handle(module, which))
            for which in ("primary", "secondary")
        )
        return primary, secondary


class LocalModules:
    """The modules of a standalone device: generation ids are made here."""

    def __init__(
        self, store: ModuleStore, new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    ) -> None:
        self._store = store
        self._new_id = new_id
        self._lock = threading.Lock()

    def all(self) -> list[Module]:
        """Return every module."""
        return self._store.all()

    def get(self, module_id: str) -> Module:
        """Return a module; raises ParameterError."""
        return self._store.get(check_module_id(module_id))

    def ensure(self, module_id: str, managed_by: str = MANAGED_BY) -> Module:
        """Return the module, made if absent; raises ParameterError for an unusable id."""
        check_module_id(module_id)
        with self._lock:
            module = self._store.find(module_id)
            if module is None:
                module = Module(module_id, self._new_id(), managed_by)
                self._store.put(module)
            return module

    def delete(self, module_id: str) -> None:
        """Remove a module; one of the same id made later has other keys."""
        with self._lock:
            self._store.delete(check_module_id(module_id))


def reconcile(modules: Modules, wanted: frozenset[str], before: frozenset[str] | None) -> None:
    """Make the host's modules right: `wanted` by the settings now, `before` at the last time.

    A module that was wanted before stays; one that is wanted anew is made with new keys; one that
    is wanted no longer is removed. Where nothing is known of before, the host's own count as it.
    """
    known = {module.module_id: module.managed_by for module in modules.all()}
    if before is None:
        before = frozenset(name for name, owner in known.items() if owner == BY_PRINCIPAL)
    for name in sorted(known):
        if (name in wanted and name not in before) or (name in before and name not in wanted):
            modules.delete(name)
    for name in sorted(wanted):
        modules.ensure(name, BY_PRINCIPAL)
