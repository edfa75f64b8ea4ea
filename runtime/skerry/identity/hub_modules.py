"""Module identities of a device with a hub: the hub's registry, with a backup for offline times.

Invariants
- A record in the backup means: the hub has this module in this generation, with our keys.
- What the hub says counts. When it cannot be asked the backup answers, and for a minute the hub is
  not asked again, so that a device without network does not wait at every call.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from skerry.base.clock import Clock
from skerry.base.log import Logger
from skerry.identity.errors import ParameterError
from skerry.identity.model import Module, check_module_id
from skerry.identity.modules import MANAGED_BY, ModuleKeys
from skerry.identity.store import ModuleStore
from skerry.provisioning.errors import ConflictError, MissingError, OfflineError
from skerry.provisioning.hub import HubModule, HubRegistry

_REST_SECONDS = 60.0

T = TypeVar("T")


class HubModules:
    """The modules of one device; raises ProvisioningError where the backup does not help."""

    def __init__(
        self,
        store: ModuleStore,
        registry: HubRegistry,
        keys: ModuleKeys,
        clock: Clock,
        log: Logger,
        *,
        prefer_cache: bool = False,
    ) -> None:
        self._store = store
        self._registry = registry
        self._keys = keys
        self._clock = clock
        self._log = log
        self._prefer_cache = prefer_cache
        self._lock = threading.Lock()
        self._offline: tuple[float, OfflineError] | None = None

    def all(self) -> list[Module]:
        """Return every module."""
        try:
            found = self._asked(self._registry.all)
        except OfflineError:
            return self._store.all()
        return sorted((_ours(entry) for entry in found), key=lambda module: module.module_id)

    def get(self, module_id: str) -> Module:
        """Return a module; raises ParameterError."""
        check_module_id(module_id)
        with self._lock:
            backup = self._store.find(module_id)
            if backup is not None and self._prefer_cache:
                return backup
            try:
                return self._adopted(self._asked(lambda: self._registry.get(module_id)), backup)
            except MissingError:
                self._store.delete(module_id)
                raise ParameterError(f"there is no module identity {module_id!r}") from None
            except OfflineError:
                if backup is None:
                    raise
                return backup

    def ensure(self, module_id: str, managed_by: str = MANAGED_BY) -> Module:
        """Return the module, made if absent; raises ParameterError for an unusable id."""
        check_module_id(module_id)
        with self._lock:
            backup = self._store.find(module_id)
            if backup is not None and self._prefer_cache:
                return backup
            try:
                return self._adopted(self._found_or_made(module_id, managed_by), backup)
            except OfflineError:
                if backup is None:
                    raise
                return backup

    def delete(self, module_id: str) -> None:
        """Remove a module at the hub and here."""
        check_module_id(module_id)
        with self._lock:
            with suppress(MissingError):
                self._asked(lambda: self._registry.delete(module_id))
            self._store.delete(module_id)

    def _found_or_made(self, module_id: str, managed_by: str) -> HubModule:
        try:
            return self._asked(lambda: self._registry.get(module_id))
        except MissingError:
            pass
        try:
            made = self._asked(lambda: self._registry.create(module_id, managed_by))
        except ConflictError:
            return self._asked(lambda: self._registry.get(module_id))
        self._log.info("module made at the hub", module=module_id)
        return made

    def _adopted(self, entry: HubModule, backup: Module | None) -> Module:
        """Give the hub our keys unless it has them, and keep a record of that."""
        module = _ours(entry)
        if backup is None or backup.generation_id != module.generation_id:
            self._asked(lambda: self._registry.set_keys(entry, *self._keys.both(module)))
        if module != backup:
            self._store.put(module)
        return module

    def _asked(self, ask: Callable[[], T]) -> T:
        if self._offline is not None:
            until, error = self._offline
            if self._clock.monotonic() < until:
                raise error
            self._offline = None
        try:
            return ask()
        except OfflineError as error:
            self._log.warning("the hub cannot be asked; what is known serves", reason=error)
            self._offline = (self._clock.monotonic() + _REST_SECONDS, error)
            raise


def _ours(entry: HubModule) -> Module:
    return Module(entry.module_id, entry.generation_id, entry.managed_by)
