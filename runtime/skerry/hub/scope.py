"""The device's scope: which devices and modules this hub answers for, and how they prove it.

A value, as the cloud's scope routes (azure-iot-edge.md §6.6) give it; the hub keeps it, with its
keys, in its own folder, so that a device that starts with no network knows its clients.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from skerry.hub.errors import ScopeError
from skerry.wire.identity import Identity


class Proof(StrEnum):
    """How a client shows who it is, in the cloud's spelling."""

    SAS = "sas"
    SELF_SIGNED = "selfSigned"
    AUTHORITY = "certificateAuthority"
    NONE = "none"


@dataclass(frozen=True)
class Client:
    """A device or module of the scope. `keys` are of 32 bytes as a rule, thumbprints upper case."""

    identity: Identity
    proof: Proof
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    thumbprints: tuple[str, ...] = ()
    is_enabled: bool = True
    is_edge: bool = False
    generation_id: str = ""
    scope: str = ""
    parents: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the cloud's shape; it holds the keys."""
        keys = [base64.b64encode(key).decode() for key in self.keys]
        auth = {
            "type": self.proof.value,
            "symmetricKey": _pair(keys, "primaryKey", "secondaryKey"),
            "x509Thumbprint": _pair(
                list(self.thumbprints), "primaryThumbprint", "secondaryThumbprint"
            ),
        }
        entry: dict[str, object] = {
            "deviceId": self.identity.device_id,
            "generationId": self.generation_id,
            "authentication": auth,
        }
        if self.identity.module_id is not None:
            return {**entry, "moduleId": self.identity.module_id}
        return {
            **entry,
            "status": "enabled" if self.is_enabled else "disabled",
            "capabilities": {"iotEdge": self.is_edge},
            "deviceScope": self.scope,
            "parentScopes": list(self.parents),
        }


@dataclass(frozen=True)
class Scope:
    """Everyone this hub answers for, by identity."""

    clients: Mapping[Identity, Client] = field(default_factory=dict)

    def get(self, identity: Identity) -> Client | None:
        """Return a client, None for a stranger."""
        return self.clients.get(identity)

    def is_enabled(self, identity: Identity) -> bool:
        """Tell whether a client, and the device it is a module of, may connect."""
        device = self.clients.get(Identity(identity.device_id))
        client = self.clients.get(identity)
        return client is not None and (device is None or device.is_enabled) and client.is_enabled

    def with_clients(self, found: Iterable[Client]) -> "Scope":
        """Return a scope in which these are what they are said to be."""
        return Scope({**self.clients, **{client.identity: client for client in found}})

    def to_bytes(self) -> bytes:
        """Return what `Scope.parse` reads; it holds keys."""
        return json.dumps([client.to_json() for client in self.clients.values()]).encode()

    @staticmethod
    def parse(data: bytes) -> "Scope":
        """Read a kept scope. Raises: ScopeError."""
        try:
            entries = json.loads(data)
        except ValueError as error:
            raise ScopeError(f"the kept scope is not JSON: {error}") from error
        return Scope().with_clients(read_clients(entries))


def read_clients(entries: object) -> list[Client]:
    """Read `devices` or `modules` of a scope page. Raises: ScopeError."""
    if not isinstance(entries, list):
        raise ScopeError("the scope holds no list of devices and modules")
    return [_client(entry) for entry in entries]


def read_local(document: object) -> Scope:
    """Read what edged says of a device without a cloud. Raises: ScopeError."""
    if not isinstance(document, Mapping):
        raise ScopeError("edged has no scope for this device; is it one without a cloud?")
    found = [*read_clients(document.get("devices")), *read_clients(document.get("modules"))]
    return Scope().with_clients(found)


def _client(entry: object) -> Client:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("deviceId"), str):
        raise ScopeError("an entry of the scope has no 'deviceId'")
    name = str(entry["deviceId"])
    auth = entry.get("authentication")
    auth = auth if isinstance(auth, Mapping) else {}
    try:
        proof = Proof(auth.get("type") or Proof.NONE)
        keys = tuple(
            base64.b64decode(text, validate=True)
            for text in _both(auth.get("symmetricKey"), "primaryKey", "secondaryKey")
        )
    except (ValueError, binascii.Error) as error:
        raise ScopeError(f"the scope says of {name!r} what cannot be read: {error}") from error
    capabilities = entry.get("capabilities")
    prints = _both(auth.get("x509Thumbprint"), "primaryThumbprint", "secondaryThumbprint")
    module_id = entry.get("moduleId")
    return Client(
        Identity(name, module_id if isinstance(module_id, str) else None),
        proof,
        keys,
        tuple(text.upper() for text in prints),
        entry.get("status", "enabled") == "enabled",
        isinstance(capabilities, Mapping) and capabilities.get("iotEdge") is True,
        str(entry.get("generationId") or ""),
        str(entry.get("deviceScope") or ""),
        tuple(str(one) for one in entry.get("parentScopes") or ()),
    )


def _both(table: object, *names: str) -> list[str]:
    if not isinstance(table, Mapping):
        return []
    return [value for name in names if isinstance(value := table.get(name), str) and value]


def _pair(values: list[str], first: str, second: str) -> dict[str, str | None]:
    padded = [*values, None, None]
    return {first: padded[0], second: padded[1]}
