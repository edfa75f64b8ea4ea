"""Whom the hub of a device without a cloud answers for: its modules, and its leaf devices.

In the cloud's shape (azure-iot-edge.md §6.6), so that the hub reads one thing. Only the hub gets
it: it holds keys. Those of modules are derived in keyd each time; those of leaf devices come with
config.toml, in `leaf_devices.json` of the generation in force.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skerry.base.client import ApiError
from skerry.base.fields import b64
from skerry.base.files import FileTooLargeError, read_limited
from skerry.identity.client import Identity, IdentityClient
from skerry.keys.client import KeysClient
from skerry.workloads.errors import WorkloadsError

_MAX_BYTES = 4 * 1024 * 1024
_STANDALONE = "standalone"
_PROOFS = {"sas": "sas", "x509_ca": "certificateAuthority", "x509_thumbprint": "selfSigned"}


class ScopeError(WorkloadsError):
    """A file of leaf devices that is there and cannot be used."""


class LocalScope:
    """Reads the scope anew at every call; `leaf_devices` is the generation's file."""

    def __init__(self, identities: IdentityClient, keys: KeysClient, leaf_devices: Path) -> None:
        self._identities = identities
        self._keys = keys
        self._leaf_devices = leaf_devices

    def document(self) -> dict[str, object] | None:
        """Return {"devices": […], "modules": […]}; None where the cloud has the scope."""
        if self._identities.provisioning().get("source") != _STANDALONE:
            return None
        device = self._identities.device()
        own = _entry(device.device_id, {"type": "none"}, iotEdge=True)
        leaves = [
            _entry(name, _authentication(table["authentication"]))
            for name, table in self._read_leaf_devices().items()
        ]
        modules = [found for one in self._identities.modules() if (found := self._module(one))]
        return {"devices": [own, *leaves], "modules": modules}

    def _module(self, listed: Identity) -> dict[str, object] | None:
        name = listed.module_id
        if name is None:
            return None
        try:
            module = self._identities.module(name)
        except ApiError:
            return None  # removed since the list was made
        if module.key_handle is None:
            return None
        key = b64(self._keys.export_derived(module.key_handle))
        return {
            **_entry(module.device_id, {"type": "sas", "symmetricKey": {"primaryKey": key}}),
            "moduleId": name,
            "generationId": module.generation_id or "",
        }

    def _read_leaf_devices(self) -> dict[str, Any]:
        try:
            found = json.loads(read_limited(self._leaf_devices, _MAX_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, FileTooLargeError) as error:
            raise ScopeError(f"{self._leaf_devices} cannot be used: {error}") from error
        return dict(found)


def _entry(name: str, authentication: Mapping[str, object], **can: bool) -> dict[str, object]:
    return {
        "deviceId": name,
        "status": "enabled",
        "authentication": dict(authentication),
        "capabilities": can,
    }


def _authentication(table: Mapping[str, str]) -> dict[str, object]:
    both = {name: table[name] for name in table if name != "type"}
    kind = "symmetricKey" if table["type"] == "sas" else "x509Thumbprint"
    return {"type": _PROOFS[table["type"]], kind: both}
