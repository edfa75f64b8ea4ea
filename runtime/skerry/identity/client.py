"""Calls to identityd, typed."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from skerry.base.client import ServiceClient

_VERSION = "2022-08-01"
_QUERY = {"type": "aziot"}


@dataclass(frozen=True)
class Identity:
    """The identity of the device (no module id) or of a module.

    `key_handle` is a handle of keyd: a key pair for `auth_type` x509, an HMAC key for sas; None
    where identityd lists identities without their keys.
    """

    hub_name: str
    gateway_host: str
    device_id: str
    module_id: str | None
    generation_id: str | None
    auth_type: str | None
    key_handle: str | None


class IdentityClient:
    """Asks one identityd; raises ApiError and UnreachableError."""

    def __init__(self, socket_path: Path) -> None:
        self._service = ServiceClient(socket_path, _VERSION)

    def device(self) -> Identity:
        """Return the device's identity; identityd makes it if need be."""
        return _identity(self._service.post("/identities/device", {"type": "aziot"}))

    def provisioning(self) -> dict[str, object]:
        """Return how the device gets its identity: source, auth, and what belongs to the source."""
        answer = self._service.get("/identities/provisioning")
        if not isinstance(answer, dict):
            raise TypeError(f"identityd answered {type(answer).__name__}, expected an object")
        return answer

    def reprovision(self) -> None:
        """Have the device provisioned again."""
        self._service.post("/identities/device/reprovision", {})

    def modules(self) -> list[Identity]:
        """Return all modules, without keys."""
        answer = self._service.get("/identities/modules", _QUERY)
        entries = answer.get("identities") if isinstance(answer, dict) else None
        if not isinstance(entries, list):
            raise TypeError("identityd answered without 'identities'")
        return [_identity(entry) for entry in entries]

    def create_module(self, module_id: str) -> Identity:
        """Return a module, made if absent."""
        body = {"type": "aziot", "moduleId": module_id}
        return _identity(self._service.post("/identities/modules", body))

    def module(self, module_id: str) -> Identity:
        """Return a module; ApiError 400 when there is none."""
        return _identity(self._service.get(_path(module_id), _QUERY))

    def update_module(self, module_id: str) -> Identity:
        """Return a module, made if absent."""
        return _identity(self._service.put(_path(module_id), {"type": "aziot"}, _QUERY))

    def delete_module(self, module_id: str) -> None:
        """Remove a module."""
        self._service.delete(_path(module_id), query=_QUERY)


def _path(module_id: str) -> str:
    return f"/identities/modules/{quote(module_id, safe='')}"


def _identity(answer: object) -> Identity:
    spec = answer.get("spec") if isinstance(answer, dict) else None
    if not isinstance(spec, dict):
        raise TypeError(f"identityd answered {type(answer).__name__} that is no identity")
    auth = spec.get("auth") or {}
    return Identity(
        hub_name=spec["hubName"],
        gateway_host=spec["gatewayHost"],
        device_id=spec["deviceId"],
        module_id=spec.get("moduleId"),
        generation_id=spec.get("genId"),
        auth_type=auth.get("type"),
        key_handle=auth.get("keyHandle"),
    )
