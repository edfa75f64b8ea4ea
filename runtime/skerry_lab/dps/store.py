"""The tables of DPS. Every method runs on the database's thread, inside its transaction.

Registration ids are compared without regard to case, as DPS does. A registration outlives its
enrolment; operations and nonces are dropped when they are older than their lifetime.
"""

import json
import sqlite3
from datetime import datetime, timedelta

from skerry_lab.dps.model import (
    Allocation,
    Attestation,
    Enrollment,
    Operation,
    Registration,
    Reprovision,
    State,
)

SCHEMA = (
    """
    CREATE TABLE enrollment (
        enrollment_id TEXT NOT NULL COLLATE NOCASE, is_group INTEGER NOT NULL,
        attestation TEXT NOT NULL, primary_key TEXT NOT NULL, secondary_key TEXT NOT NULL,
        certificates TEXT NOT NULL, endorsement_key TEXT NOT NULL, device_id TEXT NOT NULL,
        edge INTEGER NOT NULL, enabled INTEGER NOT NULL, allocation TEXT NOT NULL,
        hub TEXT NOT NULL, reprovision TEXT NOT NULL, payload TEXT NOT NULL, echo INTEGER NOT NULL,
        PRIMARY KEY (enrollment_id, is_group)
    );
    CREATE TABLE registration (
        registration_id TEXT PRIMARY KEY COLLATE NOCASE, enrollment_id TEXT NOT NULL,
        device_id TEXT NOT NULL, hub TEXT NOT NULL, status TEXT NOT NULL, substatus TEXT NOT NULL,
        created TEXT NOT NULL, updated TEXT NOT NULL, etag TEXT NOT NULL
    );
    CREATE TABLE operation (
        operation_id TEXT PRIMARY KEY, registration_id TEXT NOT NULL COLLATE NOCASE,
        created TEXT NOT NULL, ready TEXT NOT NULL, outcome TEXT NOT NULL
    );
    CREATE INDEX operation_created ON operation (created);
    CREATE TABLE nonce (
        registration_id TEXT NOT NULL COLLATE NOCASE, key BLOB NOT NULL, srk BLOB NOT NULL,
        created TEXT NOT NULL
    );
    CREATE TABLE linked_hub (name TEXT PRIMARY KEY)
    """,
    "ALTER TABLE enrollment ADD COLUMN authorities TEXT NOT NULL DEFAULT '[]'",
)

_MAX_NONCES = 4


class DpsStore:
    """Reads and writes enrolments, registrations, operations, nonces and linked hubs."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def enrollment(self, enrollment_id: str, *, group: bool) -> Enrollment | None:
        row = self._connection.execute(
            "SELECT * FROM enrollment WHERE enrollment_id = ? AND is_group = ?",
            (enrollment_id, group),
        ).fetchone()
        return None if row is None else _enrollment(row)

    def groups(self, attestation: Attestation) -> list[Enrollment]:
        rows = self._connection.execute(
            "SELECT * FROM enrollment WHERE is_group AND attestation = ? ORDER BY enrollment_id",
            (attestation.value,),
        )
        return [_enrollment(row) for row in rows]

    def enrollments(self) -> list[Enrollment]:
        rows = self._connection.execute("SELECT * FROM enrollment ORDER BY is_group, enrollment_id")
        return [_enrollment(row) for row in rows]

    def put_enrollment(self, e: Enrollment) -> None:
        """Insert or replace."""
        values = (
            e.enrollment_id, e.group, e.attestation.value, e.primary_key, e.secondary_key,
            json.dumps(e.certificates), e.endorsement_key, e.device_id, e.edge, e.enabled,
            e.allocation.value, e.hub, e.reprovision.value, json.dumps(e.payload), e.echo,
            json.dumps(e.authorities),
        )  # fmt: skip
        self._connection.execute(
            "INSERT OR REPLACE INTO enrollment VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", values
        )

    def delete_enrollment(self, enrollment_id: str, *, group: bool) -> bool:
        """Remove one; False when there was none."""
        done = self._connection.execute(
            "DELETE FROM enrollment WHERE enrollment_id = ? AND is_group = ?",
            (enrollment_id, group),
        )
        return done.rowcount > 0

    def registration(self, registration_id: str) -> Registration | None:
        row = self._connection.execute(
            "SELECT * FROM registration WHERE registration_id = ?", (registration_id,)
        ).fetchone()
        return None if row is None else _registration(row)

    def registrations(self, enrollment_id: str) -> list[Registration]:
        """Return the registrations of an enrolment."""
        rows = self._connection.execute(
            "SELECT * FROM registration WHERE enrollment_id = ? COLLATE NOCASE "
            "ORDER BY registration_id",
            (enrollment_id,),
        )
        return [_registration(row) for row in rows]

    def delete_registration(self, registration_id: str) -> None:
        """Forget a registration; its device stays."""
        self._connection.execute(
            "DELETE FROM registration WHERE registration_id = ?", (registration_id,)
        )

    def put_registration(self, r: Registration) -> None:
        """Insert or replace."""
        self._connection.execute(
            "INSERT OR REPLACE INTO registration VALUES (?,?,?,?,?,?,?,?,?)",
            (
                r.registration_id, r.enrollment_id, r.device_id, r.hub, r.status.value,
                r.substatus, r.created.isoformat(), r.updated.isoformat(), r.etag,
            ),
        )  # fmt: skip

    def operation(self, operation_id: str) -> Operation | None:
        row = self._connection.execute(
            "SELECT * FROM operation WHERE operation_id = ?", (operation_id,)
        ).fetchone()
        if row is None:
            return None
        return Operation(
            row["operation_id"],
            row["registration_id"],
            datetime.fromisoformat(row["created"]),
            datetime.fromisoformat(row["ready"]),
            json.loads(row["outcome"]),
        )

    def put_operation(self, operation: Operation, lifetime_seconds: float) -> None:
        """Insert one and drop those that are too old."""
        oldest = operation.created - timedelta(seconds=lifetime_seconds)
        self._connection.execute("DELETE FROM operation WHERE created < ?", (oldest.isoformat(),))
        self._connection.execute(
            "INSERT INTO operation VALUES (?, ?, ?, ?, ?)",
            (
                operation.operation_id,
                operation.registration_id,
                operation.created.isoformat(),
                operation.ready.isoformat(),
                json.dumps(operation.outcome),
            ),
        )

    def nonces(self, registration_id: str, since: datetime) -> list[tuple[bytes, bytes]]:
        """Return (key, storage root key) of the challenges a TPM was sent, newest first."""
        rows = self._connection.execute(
            "SELECT key, srk FROM nonce WHERE registration_id = ? AND created >= ? "
            "ORDER BY rowid DESC",
            (registration_id, since.isoformat()),
        )
        return [(row["key"], row["srk"]) for row in rows]

    def add_nonce(self, registration_id: str, key: bytes, srk: bytes, now: datetime) -> None:
        """Insert one; only the last few count, so that asking costs no space."""
        self._connection.execute(
            "INSERT INTO nonce VALUES (?, ?, ?, ?)", (registration_id, key, srk, now.isoformat())
        )
        self._connection.execute(
            "DELETE FROM nonce WHERE registration_id = ? AND rowid NOT IN (SELECT rowid FROM nonce "
            "WHERE registration_id = ? ORDER BY rowid DESC LIMIT ?)",
            (registration_id, registration_id, _MAX_NONCES),
        )

    def hubs(self) -> list[str]:
        """Return the linked hubs by name; the empty name is the lab's own."""
        return [
            r["name"] for r in self._connection.execute("SELECT * FROM linked_hub ORDER BY name")
        ]

    def set_hubs(self, names: list[str]) -> None:
        """Replace the linked hubs."""
        self._connection.execute("DELETE FROM linked_hub")
        self._connection.executemany("INSERT INTO linked_hub VALUES (?)", [(n,) for n in names])


def _enrollment(row: sqlite3.Row) -> Enrollment:
    return Enrollment(
        enrollment_id=row["enrollment_id"],
        attestation=Attestation(row["attestation"]),
        group=bool(row["is_group"]),
        primary_key=row["primary_key"],
        secondary_key=row["secondary_key"],
        certificates=tuple(json.loads(row["certificates"])),
        authorities=tuple(json.loads(row["authorities"])),
        endorsement_key=row["endorsement_key"],
        device_id=row["device_id"],
        edge=bool(row["edge"]),
        enabled=bool(row["enabled"]),
        allocation=Allocation(row["allocation"]),
        hub=row["hub"],
        reprovision=Reprovision(row["reprovision"]),
        payload=json.loads(row["payload"]),
        echo=bool(row["echo"]),
    )


def _registration(row: sqlite3.Row) -> Registration:
    fields = {**dict(row), "status": State(row["status"])}
    times = {name: datetime.fromisoformat(row[name]) for name in ("created", "updated")}
    return Registration(**{**fields, **times})
