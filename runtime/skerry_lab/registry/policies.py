"""The hub's shared access policies: named keys for people and tools, each with its rights."""

import base64
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Right(StrEnum):
    """What a policy allows, spelled as IoT Hub does."""

    REGISTRY_READ = "RegistryRead"
    REGISTRY_WRITE = "RegistryWrite"
    SERVICE_CONNECT = "ServiceConnect"
    DEVICE_CONNECT = "DeviceConnect"


@dataclass(frozen=True)
class Policy:
    """A policy with its two keys, base64."""

    name: str
    rights: frozenset[Right]
    primary_key: str = field(repr=False)
    secondary_key: str = field(repr=False)

    @property
    def keys(self) -> tuple[bytes, ...]:
        return base64.b64decode(self.primary_key), base64.b64decode(self.secondary_key)

    def connection_string(self, host: str) -> str:
        """Return what service SDKs are given."""
        return f"HostName={host};SharedAccessKeyName={self.name};SharedAccessKey={self.primary_key}"


_READ = frozenset({Right.REGISTRY_READ})
_WRITE = frozenset({Right.REGISTRY_READ, Right.REGISTRY_WRITE})
DEFAULT_POLICIES = {
    "iothubowner": frozenset(Right),
    "service": frozenset({Right.SERVICE_CONNECT}),
    "device": frozenset({Right.DEVICE_CONNECT}),
    "registryRead": _READ,
    "registryReadWrite": _WRITE,
}

_ALL = "SELECT * FROM policy ORDER BY name"


class PolicyStore:
    """Reads and makes policies."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> Policy | None:
        row = self._connection.execute("SELECT * FROM policy WHERE name = ?", (name,)).fetchone()
        return None if row is None else _policy(row)

    def all(self) -> list[Policy]:
        """Return the policies by name."""
        return [_policy(row) for row in self._connection.execute(_ALL)]

    def ensure(self, random_bytes: Callable[[int], bytes]) -> None:
        """Make the policies every hub begins with; those that exist keep their keys."""
        for name, rights in DEFAULT_POLICIES.items():
            keys = [base64.b64encode(random_bytes(32)).decode() for _ in range(2)]
            self._connection.execute(
                "INSERT OR IGNORE INTO policy (name, primary_key, secondary_key, rights) "
                "VALUES (?, ?, ?, ?)",
                (name, *keys, " ".join(sorted(rights))),
            )


def _policy(row: sqlite3.Row) -> Policy:
    rights = frozenset(Right(text) for text in row["rights"].split())
    return Policy(row["name"], rights, row["primary_key"], row["secondary_key"])
