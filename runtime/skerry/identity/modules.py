"""Module identities of a standalone device: generation ids made here, keys derived in keyd."""

import threading
import uuid
from collections.abc import Callable, Sequence

from skerry.identity.model import MASTER_KEY_ID, Module, Principal, check_module_id, derivation_data
from skerry.identity.store import ModuleStore
from skerry.keys.client import KeysClient

_BY_PRINCIPAL = "identityd"


class Modules:
    """Creates, finds and removes module identities."""

    def __init__(
        self,
        store: ModuleStore,
        keys: KeysClient,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._store = store
        self._keys = keys
        self._new_id = new_id
        self._lock = threading.Lock()

    def all(self) -> list[Module]:
        """Return every module."""
        return self._store.all()

    def get(self, module_id: str) -> Module:
        """Return a module; raises ParameterError."""
        return self._store.get(check_module_id(module_id))

    def ensure(self, module_id: str, managed_by: str = "iotedge") -> Module:
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

    def key_handle(self, module: Module) -> str:
        """Return the handle of the module's primary key."""
        master = self._keys.create_key(MASTER_KEY_ID)
        return self._keys.derive(master, derivation_data(module, "primary"))

    def reconcile(self, principals: Sequence[Principal]) -> None:
        """Give every host process that the settings name a module, and remove those they named."""
        wanted = {entry.name for entry in principals if "module" in (entry.id_types or ())}
        for module in self._store.all():
            if module.managed_by == _BY_PRINCIPAL and module.module_id not in wanted:
                self.delete(module.module_id)
        for name in sorted(wanted):
            self.ensure(name, _BY_PRINCIPAL)
