"""What identityd knows: the device, its modules, and who may ask for which."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from skerry.base.errors import SettingsError
from skerry.identity.errors import ParameterError

ROOT_UID = 0
MAX_ID_LENGTH = 128
DEVICE_KEY_ID = "device-id"
DEVICE_CERT_ID = "device-id"
MASTER_KEY_ID = "aziot_identityd_master_id"
_ID = re.compile(r"[A-Za-z0-9\-.+%_#*?!(),:=@$']+")


@dataclass(frozen=True)
class Principal:
    """A process of the host that may ask for identities; no `id_types` means all rights."""

    uid: int
    name: str
    id_types: tuple[str, ...] | None


@dataclass(frozen=True)
class Settings:
    """identityd's settings, upstream's schema with the source `standalone`.

    The hub name of a standalone device is its host name, the gateway is the hub or the parent.
    """

    hub_name: str
    device_id: str
    parent_hostname: str | None
    principals: tuple[Principal, ...]
    max_requests: int

    @property
    def gateway_host(self) -> str:
        """Return where the device reaches its hub."""
        return self.parent_hostname or self.hub_name

    def principal(self, uid: int) -> Principal | None:
        """Return the principal of a uid."""
        return next((entry for entry in self.principals if entry.uid == uid), None)


@dataclass(frozen=True)
class Module:
    """A module identity; a new generation id means new keys."""

    module_id: str
    generation_id: str
    managed_by: str


def parse_settings(settings: Mapping[str, object]) -> Settings:
    """Turn the merged settings table into Settings; raises SettingsError."""
    hostname = settings.get("hostname")
    if not isinstance(hostname, str) or not hostname:
        raise SettingsError(f"hostname is {hostname!r}, expected the name of this device")
    provisioning = settings.get("provisioning")
    if not isinstance(provisioning, dict):
        raise SettingsError('[provisioning] is missing; expected source = "standalone"')
    source = provisioning.get("source")
    if source != "standalone":
        raise SettingsError(
            f"provisioning.source {source!r} is not part of this version; expected 'standalone'"
        )
    hub_name = provisioning.get("iothub_hostname", hostname)
    if not isinstance(hub_name, str) or not hub_name:
        raise SettingsError(f"provisioning.iothub_hostname is {hub_name!r}, expected a host name")
    device_id = provisioning.get("device_id", hostname)
    if not isinstance(device_id, str) or not _usable(device_id):
        raise SettingsError(f"provisioning.device_id is {device_id!r}, expected a device id")
    parent = provisioning.get("local_gateway_hostname")
    if parent is not None and not isinstance(parent, str):
        raise SettingsError(f"provisioning.local_gateway_hostname is {parent!r}, expected a name")
    max_requests = settings.get("max_requests", 10)
    if not isinstance(max_requests, int) or max_requests < 1:
        raise SettingsError(f"max_requests is {max_requests!r}, expected an integer of at least 1")
    principals = settings.get("principal", [])
    if not isinstance(principals, list):
        raise SettingsError(f"principal is {principals!r}, expected an array of tables")
    return Settings(
        hub_name=hub_name,
        device_id=device_id,
        parent_hostname=parent,
        principals=tuple(_principal(entry) for entry in principals),
        max_requests=max_requests,
    )


def check_module_id(module_id: str) -> str:
    """Return the id if it may name a module; raises ParameterError."""
    if not _usable(module_id):
        raise ParameterError(
            f"module id {module_id[:40]!r} is not usable; expected 1 to {MAX_ID_LENGTH} letters, "
            "digits and -.+%_#*?!(),:=@$'"
        )
    return module_id


def derivation_data(module: Module, which: str) -> bytes:
    """Return what a module's key is derived from; `which` is primary or secondary."""
    return f"{module.module_id}:{module.generation_id}:{which}".encode()


def _usable(text: str) -> bool:
    return len(text) <= MAX_ID_LENGTH and _ID.fullmatch(text) is not None


def _principal(entry: object) -> Principal:
    match entry:
        case {"uid": int(uid), "name": str(name), **rest}:
            id_types = rest.get("idtype")
            if id_types is None:
                return Principal(uid, name, None)
            if isinstance(id_types, list) and set(id_types) <= {"device", "module", "local"}:
                return Principal(uid, name, tuple(id_types))
    raise SettingsError(
        f'principal {entry!r} is not {{ uid = NUMBER, name = STRING, idtype = ["device", '
        '"module", "local"] }'
    )
