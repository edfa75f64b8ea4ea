"""The tables of configurations. Every method runs on the database's thread, in its transaction.

A mark says that a configuration targets a twin: of an edge deployment on `$edgeAgent`'s, else on
the device's (module id empty) or module's own. A removed configuration stays, hidden, until the
sweep has taken its settings out of all twins. `configuration_sweep` has one row while devices are
still to be looked at: those behind the id in it.
"""

import json
import sqlite3
from dataclasses import dataclass

from skerry.wire.identity import Identity
from skerry_lab.configurations.model import Configuration

SCHEMA = (
    """
    CREATE TABLE configuration (
        number INTEGER PRIMARY KEY AUTOINCREMENT, configuration_id TEXT NOT NULL,
        etag TEXT NOT NULL, priority INTEGER NOT NULL, target_condition TEXT NOT NULL,
        content TEXT NOT NULL, labels TEXT NOT NULL, metrics TEXT NOT NULL,
        created TEXT NOT NULL, updated TEXT NOT NULL, removed INTEGER NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX configuration_by_id ON configuration (configuration_id) WHERE NOT removed;
    CREATE TABLE configuration_mark (
        device_id TEXT NOT NULL, module_id TEXT NOT NULL, number INTEGER NOT NULL,
        place INTEGER NOT NULL, reported INTEGER,
        PRIMARY KEY (device_id, module_id, number)
    ) WITHOUT ROWID;
    CREATE INDEX configuration_mark_by_number ON configuration_mark (number, place, reported);
    CREATE TABLE configuration_sweep (
        one INTEGER PRIMARY KEY CHECK (one = 1), after TEXT NOT NULL
    )
    """,
)


@dataclass(frozen=True)
class Mark:
    """The place of a configuration among those that are applied, 0 if it is not.

    Later places win. `reported` is what `$edgeAgent` says of a deployment, None for nothing.
    """

    place: int = 0
    reported: bool | None = None

    @property
    def is_applied(self) -> bool:
        return self.place > 0


@dataclass(frozen=True)
class Counts:
    """How many twins a configuration targets, and what became of it there."""

    targeted: int = 0
    applied: int = 0
    successful: int = 0
    failed: int = 0


Marks = dict[tuple[str, int], Mark]
"""Marks of a device, by module id and number of the configuration."""


class ConfigurationStore:
    """Reads and writes configurations and marks."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def versions(self) -> list[tuple[int, str]]:
        """Return number and etag of every configuration, also of removed ones."""
        rows = self.connection.execute("SELECT number, etag, removed FROM configuration")
        return [(row["number"], "" if row["removed"] else row["etag"]) for row in rows]

    def by_number(self, number: int) -> Configuration:
        row = self.connection.execute(
            "SELECT * FROM configuration WHERE number = ?", (number,)
        ).fetchone()
        return _configuration(row)

    def get(self, configuration_id: str) -> Configuration | None:
        row = self.connection.execute(
            "SELECT * FROM configuration WHERE configuration_id = ? AND NOT removed",
            (configuration_id,),
        ).fetchone()
        return None if row is None else _configuration(row)

    def all(self, limit: int = -1) -> list[Configuration]:
        """Return configurations, the oldest first."""
        rows = self.connection.execute(
            "SELECT * FROM configuration WHERE NOT removed ORDER BY number LIMIT ?", (limit,)
        )
        return [_configuration(row) for row in rows]

    def add(self, configuration: Configuration) -> int:
        """Insert a configuration and return its number."""
        done = self.connection.execute(
            "INSERT INTO configuration (configuration_id, etag, priority, target_condition, "
            "content, labels, metrics, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                configuration.configuration_id, configuration.etag, configuration.priority,
                configuration.target_condition, json.dumps(configuration.content),
                json.dumps(configuration.labels), json.dumps(configuration.metrics),
                configuration.created, configuration.updated,
            ),
        )  # fmt: skip
        return int(done.lastrowid or 0)

    def update(self, configuration: Configuration) -> None:
        """Store what of a configuration may change."""
        self.connection.execute(
            "UPDATE configuration SET etag = ?, priority = ?, target_condition = ?, labels = ?, "
            "metrics = ?, updated = ? WHERE number = ?",
            (
                configuration.etag, configuration.priority, configuration.target_condition,
                json.dumps(configuration.labels), json.dumps(configuration.metrics),
                configuration.updated, configuration.number,
            ),
        )  # fmt: skip

    def remove(self, number: int) -> None:
        """Hide a configuration until `purge`."""
        self.connection.execute("UPDATE configuration SET removed = 1 WHERE number = ?", (number,))

    def purge(self) -> None:
        """Forget removed configurations that mark no twin any longer."""
        self.connection.execute(
            "DELETE FROM configuration WHERE removed "
            "AND number NOT IN (SELECT number FROM configuration_mark)"
        )

    def marks(self, device_id: str) -> Marks:
        """Return the marks of a device and its modules."""
        rows = self.connection.execute(
            "SELECT * FROM configuration_mark WHERE device_id = ?", (device_id,)
        )
        return {(row["module_id"], row["number"]): _mark(row) for row in rows}

    def put_marks(self, device_id: str, former: Marks, marks: Marks) -> None:
        """Put marks of a device in the place of the former ones."""
        for module_id, number in former.keys() - marks.keys():
            self.connection.execute(
                "DELETE FROM configuration_mark "
                "WHERE device_id = ? AND module_id = ? AND number = ?",
                (device_id, module_id, number),
            )
        for (module_id, number), mark in marks.items():
            if former.get((module_id, number)) != mark:
                self.connection.execute(
                    "INSERT OR REPLACE INTO configuration_mark VALUES (?, ?, ?, ?, ?)",
                    (device_id, module_id, number, mark.place, mark.reported),
                )

    def forget(self, identity: Identity) -> None:
        """Remove the marks of what is removed from the registry."""
        if identity.module_id is None:
            self.connection.execute(
                "DELETE FROM configuration_mark WHERE device_id = ?", (identity.device_id,)
            )
        else:
            self.connection.execute(
                "DELETE FROM configuration_mark WHERE device_id = ? AND module_id = ?",
                (identity.device_id, identity.module_id),
            )

    def counts(self, number: int) -> Counts:
        """Count the marks of a configuration."""
        row = self.connection.execute(
            "SELECT count(*) AS targeted, total(place > 0) AS applied, "
            "total(reported = 1) AS successful, total(reported = 0) AS failed "
            "FROM configuration_mark WHERE number = ?",
            (number,),
        ).fetchone()
        return Counts(*(int(row[at]) for at in range(4)))

    def statuses(self, after: Identity, last: Identity) -> dict[Identity, dict[str, object]]:
        """Return `configurations` of the twins from behind one identity up to another one."""
        rows = self.connection.execute(
            "SELECT device_id, module_id, place, configuration_id "
            "FROM configuration_mark JOIN configuration USING (number) "
            "WHERE (device_id, module_id) > (?, ?) AND (device_id, module_id) <= (?, ?) "
            "AND (module_id <> '') = ? AND NOT removed ORDER BY number",
            (
                after.device_id, after.module_id or "", last.device_id, last.module_id or "",
                last.module_id is not None,
            ),
        )  # fmt: skip
        found: dict[Identity, dict[str, object]] = {}
        for row in rows:
            identity = Identity(row["device_id"], row["module_id"] or None)
            status = "Applied" if row["place"] else "Targeted"
            found.setdefault(identity, {})[row["configuration_id"]] = {"status": status}
        return found

    def status(self, identity: Identity) -> dict[str, object]:
        """Return `configurations` of one twin."""
        rows = self.connection.execute(
            "SELECT place, configuration_id "
            "FROM configuration_mark JOIN configuration USING (number) "
            "WHERE device_id = ? AND module_id = ? AND NOT removed ORDER BY number",
            (identity.device_id, identity.module_id or ""),
        )
        return {
            row["configuration_id"]: {"status": "Applied" if row["place"] else "Targeted"}
            for row in rows
        }

    def begin_sweep(self) -> None:
        """Have every device looked at."""
        self.connection.execute("INSERT OR REPLACE INTO configuration_sweep VALUES (1, '')")

    def sweep(self) -> str | None:
        """Return behind which device the sweep is to go on, None when there is none."""
        row = self.connection.execute("SELECT after FROM configuration_sweep").fetchone()
        return None if row is None else str(row["after"])

    def move_sweep(self, after: str) -> None:
        """Note that devices up to this one have been looked at."""
        self.connection.execute("UPDATE configuration_sweep SET after = ?", (after,))

    def end_sweep(self) -> None:
        """Note that all devices have been looked at."""
        self.connection.execute("DELETE FROM configuration_sweep")


def _configuration(row: sqlite3.Row) -> Configuration:
    return Configuration(
        configuration_id=row["configuration_id"],
        content=json.loads(row["content"]),
        target_condition=row["target_condition"],
        priority=row["priority"],
        labels=json.loads(row["labels"]),
        metrics=json.loads(row["metrics"]),
        created=row["created"],
        updated=row["updated"],
        etag=row["etag"],
        number=row["number"],
    )


def _mark(row: sqlite3.Row) -> Mark:
    reported = row["reported"]
    return Mark(row["place"], None if reported is None else bool(reported))
