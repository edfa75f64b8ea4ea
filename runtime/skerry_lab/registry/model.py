"""Devices and modules of the registry, and their JSON as IoT Hub's REST shows them."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from skerry_lab.registry.errors import bad_argument

MAX_MODULES = 50
MAX_DEVICES_LISTED = 1000
EDGE_HUB = "$edgeHub"
EDGE_MODULES = ("$edgeAgent", EDGE_HUB)

_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_THUMBPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
_KEY_BYTES = range(16, 65)
_NEVER = "0001-01-01T00:00:00Z"


class AuthType(StrEnum):
    """How an identity shows who it is."""

    SAS = "sas"
    SELF_SIGNED = "selfSigned"
    CERTIFICATE_AUTHORITY = "certificateAuthority"
    NONE = "none"


class Status(StrEnum):
    """Whether a device may connect."""

    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True)
class Authentication:
    """What proves an identity: base64 keys for `sas`, hex SHA-1 or SHA-256 for `selfSigned`."""

    type: AuthType
    primary_key: str = field(default="", repr=False)
    secondary_key: str = field(default="", repr=False)
    primary_thumbprint: str = ""
    secondary_thumbprint: str = ""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys that a token may be signed with."""
        return tuple(base64.b64decode(k) for k in (self.primary_key, self.secondary_key) if k)

    @property
    def thumbprints(self) -> tuple[str, ...]:
        return tuple(t for t in (self.primary_thumbprint, self.secondary_thumbprint) if t)

    def to_json(self) -> dict[str, object]:
        return {
            "symmetricKey": {
                "primaryKey": self.primary_key or None,
                "secondaryKey": self.secondary_key or None,
            },
            "x509Thumbprint": {
                "primaryThumbprint": self.primary_thumbprint or None,
                "secondaryThumbprint": self.secondary_thumbprint or None,
            },
            "type": self.type.value,
        }


@dataclass(frozen=True)
class Device:
    """A device; `generation_id` tells it from an earlier one of the same name."""

    device_id: str
    authentication: Authentication
    generation_id: str = ""
    etag: str = ""
    status: Status = Status.ENABLED
    status_reason: str | None = None
    edge: bool = False
    scope: str | None = None
    parent_scopes: tuple[str, ...] = ()
    status_updated: datetime | None = None

    def in_scope(self) -> dict[str, object]:
        """Return it as an edge hub is told of it (azure-iot-edge.md §6.6)."""
        names = (
            "deviceId", "generationId", "status", "authentication", "capabilities", "deviceScope",
            "parentScopes",
        )  # fmt: skip
        whole = self.to_json()
        return {name: whole[name] for name in names}

    def to_json(self) -> dict[str, object]:
        changed = self.status_updated
        return {
            "deviceId": self.device_id,
            "generationId": self.generation_id,
            "etag": self.etag,
            "connectionState": "Disconnected",
            "status": self.status.value,
            "statusReason": self.status_reason,
            "connectionStateUpdatedTime": _NEVER,
            "statusUpdatedTime": changed.isoformat() if changed else _NEVER,
            "lastActivityTime": _NEVER,
            "cloudToDeviceMessageCount": 0,
            "authentication": self.authentication.to_json(),
            "capabilities": {"iotEdge": self.edge},
            "deviceScope": self.scope,
            "parentScopes": list(self.parent_scopes),
        }


@dataclass(frozen=True)
class Module:
    """A module of a device."""

    device_id: str
    module_id: str
    authentication: Authentication
    generation_id: str = ""
    etag: str = ""
    managed_by: str | None = None

    def in_scope(self) -> dict[str, object]:
        """Return it as an edge hub is told of it (azure-iot-edge.md §6.6)."""
        whole = self.to_json()
        names = ("moduleId", "deviceId", "generationId", "authentication", "managedBy")
        return {name: whole[name] for name in names}

    def to_json(self) -> dict[str, object]:
        return {
            "moduleId": self.module_id,
            "managedBy": self.managed_by,
            "deviceId": self.device_id,
            "generationId": self.generation_id,
            "etag": self.etag,
            "connectionState": "Disconnected",
            "connectionStateUpdatedTime": _NEVER,
            "lastActivityTime": _NEVER,
            "cloudToDeviceMessageCount": 0,
            "authentication": self.authentication.to_json(),
        }


def device_from(body: Mapping[str, object], device_id: str, fresh: Authentication) -> Device:
    """Read a device from a PUT; keys it does not name are those of `fresh`. Raises: HubError."""
    _same_id(body, "deviceId", device_id)
    scopes = body.get("parentScopes") or []
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise bad_argument("parentScopes has to be a list of texts")
    return Device(
        device_id=checked_id(device_id, "device"),
        authentication=authentication_from(_table(body, "authentication"), fresh),
        status=_status(body),
        status_reason=_optional_text(body, "statusReason"),
        edge=_table(body, "capabilities").get("iotEdge") is True,
        scope=_optional_text(body, "deviceScope"),
        parent_scopes=tuple(scopes),
    )


def module_from(
    body: Mapping[str, object], device_id: str, module_id: str, fresh: Authentication
) -> Module:
    """Read a module from a PUT; keys it does not name are those of `fresh`. Raises: HubError."""
    _same_id(body, "deviceId", device_id)
    _same_id(body, "moduleId", module_id)
    return Module(
        device_id=device_id,
        module_id=checked_id(module_id, "module"),
        authentication=authentication_from(_table(body, "authentication"), fresh),
        managed_by=_optional_text(body, "managedBy"),
    )


def authentication_from(table: Mapping[str, object], fresh: Authentication) -> Authentication:
    """Read an `authentication`; without one, or with `sas` and no keys, `fresh` is taken."""
    keys, prints = _table(table, "symmetricKey"), _table(table, "x509Thumbprint")
    primary, secondary = _key(keys, "primaryKey"), _key(keys, "secondaryKey")
    thumbprints = [
        _thumbprint(prints, name) for name in ("primaryThumbprint", "secondaryThumbprint")
    ]
    kind = _auth_type(table, "selfSigned" if any(thumbprints) else "sas")
    if kind is AuthType.SAS:
        return Authentication(kind, primary or fresh.primary_key, secondary or fresh.secondary_key)
    if kind is AuthType.SELF_SIGNED:
        if not any(thumbprints):
            raise bad_argument("authentication 'selfSigned' needs x509Thumbprint.primaryThumbprint")
        return Authentication(kind, "", "", *thumbprints)
    return Authentication(kind)


def checked_id(text: str, what: str) -> str:
    """Return an id that follows IoT Hub's rules. Raises: HubError."""
    if not _ID.fullmatch(text):
        raise bad_argument(
            f"{what} id {text[:140]!r} is not valid, expected 1 to 128 of "
            "letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '"
        )
    return text


def _same_id(body: Mapping[str, object], name: str, expected: str) -> None:
    if body.get(name, expected) != expected:
        raise bad_argument(
            f"{name} is {body[name]!r} in the body, expected {expected!r} as in the path"
        )


def _auth_type(table: Mapping[str, object], default: str) -> AuthType:
    text = table.get("type") or default
    for known in AuthType:
        if isinstance(text, str) and known.value.lower() == text.lower():
            return known
    raise bad_argument(f"authentication type {text!r} is not known, expected {', '.join(AuthType)}")


def _status(body: Mapping[str, object]) -> Status:
    text = body.get("status") or Status.ENABLED
    if text not in list(Status):
        raise bad_argument(f"status {text!r} is not known, expected enabled or disabled")
    return Status(str(text))


def _key(table: Mapping[str, object], name: str) -> str:
    text = _optional_text(table, name) or ""
    if not text:
        return ""
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size not in _KEY_BYTES:
        raise bad_argument(f"{name} is not valid, expected 16 to 64 bytes in base64")
    return text


def _thumbprint(table: Mapping[str, object], name: str) -> str:
    text = (_optional_text(table, name) or "").replace(":", "").upper()
    if text and not _THUMBPRINT.fullmatch(text):
        raise bad_argument(f"{name} is not valid, expected a SHA-1 or SHA-256 in hex")
    return text


def _optional_text(body: Mapping[str, object], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise bad_argument(f"{name} is {type(value).__name__}, expected a text")
    return value


def _table(body: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_argument(f"{name} is {type(value).__name__}, expected an object")
    return value
