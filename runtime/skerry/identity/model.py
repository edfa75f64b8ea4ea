"""What identityd knows: the device, its modules, and who may ask for which."""

import re
from dataclasses import dataclass
from enum import StrEnum

from skerry.identity.errors import ParameterError

ROOT_UID = 0
MAX_ID_LENGTH = 128
DEVICE_KEY_ID = "device-id"
DEVICE_CERT_ID = "device-id"
MASTER_KEY_ID = "aziot_identityd_master_id"
BY_PRINCIPAL = "identityd"
"""`managed_by` of a module that is a process of the host."""

_ID = re.compile(r"[A-Za-z0-9\-.+%_#*?!(),:=@$']+")


class Auth(StrEnum):
    """How a device shows who it is."""

    SAS = "sas"
    X509 = "x509"
    TPM = "tpm"


@dataclass(frozen=True)
class Principal:
    """A process of the host that may ask for identities; no `id_types` means all rights."""

    uid: int
    name: str
    id_types: tuple[str, ...] | None


@dataclass(frozen=True)
class Device:
    """The device as its hub knows it; the gateway is the hub or the parent."""

    hub_name: str
    gateway_host: str
    device_id: str
    auth: Auth


@dataclass(frozen=True)
class Module:
    """A module identity; a new generation id means new keys."""

    module_id: str
    generation_id: str
    managed_by: str


def is_usable_id(text: str) -> bool:
    """Tell whether a text may name a device or a module, as IoT Hub has it."""
    return len(text) <= MAX_ID_LENGTH and _ID.fullmatch(text) is not None


def check_module_id(module_id: str) -> str:
    """Return the id if it may name a module; raises ParameterError."""
    if not is_usable_id(module_id):
        raise ParameterError(
            f"module id {module_id[:40]!r} is not usable; expected 1 to {MAX_ID_LENGTH} letters, "
            "digits and -.+%_#*?!(),:=@$'"
        )
    return module_id


def derivation_data(module: Module, which: str) -> bytes:
    """Return what a module's key is derived from; `which` is primary or secondary."""
    return f"{module.module_id}:{module.generation_id}:{which}".encode()
