"""The tables of the registry. Every method runs on the database's thread, inside its transaction.

Devices are found by their exact id. A module goes with its device. Certificates are those that the
hub trusts for devices of type `certificateAuthority`; policies are the hub's shared access keys.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from skerry.wire.identity import Identity
from skerry_lab.registry.model import Authentication, AuthType, Device, Module, Status

SCHEMA = (
    """
    CREATE TABLE device (
        device_id TEXT PRIMARY KEY, generation_id TEXT NOT NULL, etag TEXT NOT NULL,
        status TEXT NOT NULL, status_reason TEXT, status_updated TEXT,
        auth_type TEXT NOT NULL, primary_key TEXT NOT NULL, secondary_key TEXT NOT NULL,
        primary_thumbprint TEXT NOT NULL, secondary_thumbprint TEXT NOT NULL,
        edge INTEGER NOT NULL, scope TEXT, parent_scopes TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE module (
        device_id TEXT NOT NULL REFERENCES device ON DELETE CASCADE, module_id TEXT NOT NULL,
        generation_id TEXT NOT NULL, etag TEXT NOT NULL, managed_by TEXT,
        auth_type TEXT NOT NULL, primary_key TEXT NOT NULL, secondary_key TEXT NOT NULL,
        primary_thumbprint TEXT NOT NULL, secondary_thumbprint TEXT NOT NULL,
        PRIMARY KEY (device_id, module_id)
    ) WITHOUT ROWID;
    CREATE TABLE hub_certificate (name TEXT PRIMARY KEY, pem TEXT NOT NULL);
    CREATE TABLE policy (
        name TEXT PRIMARY KEY, primary_key TEXT NOT NULL, secondary_key TEXT NOT NULL,
        rights TEXT NOT NULL
    )
    """,
    """
    UPDATE device SET parent_scopes = json_array(scope)
        WHERE NOT edge AND scope IS NOT NULL AND parent_scopes = '[]';
    CREATE INDEX device_parent ON device (parent_scopes, device_id) WHERE parent_scopes != '[]'
    """,
    """
    ALTER TABLE hub_certificate ADD COLUMN verified INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE hub_certificate ADD COLUMN etag TEXT NOT NULL DEFAULT '';
    ALTER TABLE hub_certificate ADD COLUMN code TEXT NOT NULL DEFAULT '';
    ALTER TABLE hub_certificate ADD COLUMN created TEXT NOT NULL DEFAULT '2026-01-01T00:00Z';
    ALTER TABLE hub_certificate ADD COLUMN updated TEXT NOT NULL DEFAULT '2026-01-01T00:00Z'
    """,
)

_DEVICE = (
    "device_id, generation_id, etag, status, status_reason, status_updated, auth_type, "
    "primary_key, secondary_key, primary_thumbprint, secondary_thumbprint, edge, scope, "
    "parent_scopes"
)
_MODULE = (
    "device_id, module_id, generation_id, etag, managed_by, auth_type, "
    "primary_key, secondary_key, primary_thumbprint, secondary_thumbprint"
)


@dataclass(frozen=True)
class AuthorityRow:
    """An authority as it is stored; the times are ISO 8601."""

    name: str
    pem: str
    verified: bool
    etag: str
    code: str
    created: str
    updated: str


class RegistryStore:
    """Reads and writes devices, modules and the hub's trusted certificates."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def device(self, device_id: str) -> Device | None:
        row = self._connection.execute(
            "SELECT * FROM device WHERE device_id = ?", (device_id,)
        ).fetchone()
        return None if row is None else _device(row)

    def devices(self, limit: int, after: str = "") -> Iterator[Device]:
        """Yield devices in the order of their ids, those behind `after`."""
        rows = self._connection.execute(
            "SELECT * FROM device WHERE device_id > ? ORDER BY device_id LIMIT ?", (after, limit)
        )
        return map(_device, rows)

    def children(self, scope: str, limit: int, after: str = "") -> list[Device]:
        """Return devices in the order of their ids whose parent owns the scope, behind `after`."""
        rows = self._connection.execute(
            "SELECT * FROM device WHERE parent_scopes = ? AND parent_scopes != '[]' "
            "AND device_id > ? ORDER BY device_id LIMIT ?",
            (json.dumps([scope]), after, limit),
        )
        return [_device(row) for row in rows]

    def put_device(self, device: Device) -> None:
        """Insert or replace; modules stay."""
        changed = device.status_updated
        values = (
            device.device_id, device.generation_id, device.etag, device.status.value,
            device.status_reason, changed.isoformat() if changed else None,
            *_auth_values(device.authentication), int(device.edge), device.scope,
            json.dumps(device.parent_scopes),
        )  # fmt: skip
        self._put("device", _DEVICE, values, key_columns=1)

    def delete_device(self, device_id: str) -> None:
        self._connection.execute("DELETE FROM device WHERE device_id = ?", (device_id,))

    def count_devices(self) -> dict[str, int]:
        """Return the number of devices by status."""
        rows = self._connection.execute("SELECT status, count(*) AS n FROM device GROUP BY status")
        return {row["status"]: row["n"] for row in rows}

    def module(self, device_id: str, module_id: str) -> Module | None:
        row = self._connection.execute(
            "SELECT * FROM module WHERE device_id = ? AND module_id = ?", (device_id, module_id)
        ).fetchone()
        return None if row is None else _module(row)

    def modules(self, device_id: str) -> list[Module]:
        rows = self._connection.execute(
            "SELECT * FROM module WHERE device_id = ? ORDER BY module_id", (device_id,)
        )
        return [_module(row) for row in rows]

    def modules_after(self, identity: Identity, limit: int) -> list[Module]:
        """Return modules of any device in the order of their ids, those behind one."""
        rows = self._connection.execute(
            "SELECT * FROM module WHERE (device_id, module_id) > (?, ?) "
            "ORDER BY device_id, module_id LIMIT ?",
            (identity.device_id, identity.module_id or "", limit),
        )
        return [_module(row) for row in rows]

    def put_module(self, module: Module) -> None:
        """Insert or replace."""
        values = (
            module.device_id, module.module_id, module.generation_id, module.etag,
            module.managed_by, *_auth_values(module.authentication),
        )  # fmt: skip
        self._put("module", _MODULE, values, key_columns=2)

    def delete_module(self, device_id: str, module_id: str) -> None:
        self._connection.execute(
            "DELETE FROM module WHERE device_id = ? AND module_id = ?", (device_id, module_id)
        )

    def certificates(self) -> list[str]:
        """Return the certificates that sign devices, PEM: those that are verified."""
        rows = self._connection.execute("SELECT pem FROM hub_certificate WHERE verified")
        return [row["pem"] for row in rows]

    def authorities(self) -> list[AuthorityRow]:
        """Return all that somebody brought, by name."""
        rows = self._connection.execute("SELECT * FROM hub_certificate ORDER BY name")
        return [_authority(row) for row in rows]

    def authority(self, name: str) -> AuthorityRow | None:
        rows = self._connection.execute("SELECT * FROM hub_certificate WHERE name = ?", (name,))
        row = rows.fetchone()
        return None if row is None else _authority(row)

    def delete_authority(self, name: str) -> None:
        self._connection.execute("DELETE FROM hub_certificate WHERE name = ?", (name,))

    def put_authority(self, one: AuthorityRow) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO hub_certificate "
            "(name, pem, verified, etag, code, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (one.name, one.pem, one.verified, one.etag, one.code, one.created, one.updated),
        )

    def devices_by_authority(self) -> list[str]:
        """Return the devices that authenticate by an authority."""
        rows = self._connection.execute(
            "SELECT device_id FROM device WHERE auth_type = ?",
            (AuthType.CERTIFICATE_AUTHORITY.value,),
        )
        return [row["device_id"] for row in rows]

    def _put(self, table: str, columns: str, values: tuple[object, ...], key_columns: int) -> None:
        names = columns.split(", ")
        keys = ", ".join(names[:key_columns])
        # Not INSERT OR REPLACE: that deletes the row first, and the modules with it.
        changes = ", ".join(f"{name} = excluded.{name}" for name in names[key_columns:])
        marks = ", ".join("?" * len(names))
        self._connection.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({marks}) "  # noqa: S608 - constant names
            f"ON CONFLICT ({keys}) DO UPDATE SET {changes}",
            values,
        )


def _authority(row: sqlite3.Row) -> AuthorityRow:
    texts = [str(row[name]) for name in ("etag", "code", "created", "updated")]
    return AuthorityRow(row["name"], row["pem"], bool(row["verified"]), *texts)


def _auth_values(auth: Authentication) -> tuple[str, ...]:
    return (
        auth.type.value,
        auth.primary_key,
        auth.secondary_key,
        auth.primary_thumbprint,
        auth.secondary_thumbprint,
    )


def _authentication(row: sqlite3.Row) -> Authentication:
    return Authentication(
        AuthType(row["auth_type"]),
        row["primary_key"],
        row["secondary_key"],
        row["primary_thumbprint"],
        row["secondary_thumbprint"],
    )


def _device(row: sqlite3.Row) -> Device:
    changed = row["status_updated"]
    return Device(
        device_id=row["device_id"],
        authentication=_authentication(row),
        generation_id=row["generation_id"],
        etag=row["etag"],
        status=Status(row["status"]),
        status_reason=row["status_reason"],
        edge=bool(row["edge"]),
        scope=row["scope"],
        parent_scopes=tuple(json.loads(row["parent_scopes"])),
        status_updated=datetime.fromisoformat(changed) if changed else None,
    )


def _module(row: sqlite3.Row) -> Module:
    return Module(
        device_id=row["device_id"],
        module_id=row["module_id"],
        authentication=_authentication(row),
        generation_id=row["generation_id"],
        etag=row["etag"],
        managed_by=row["managed_by"],
    )
