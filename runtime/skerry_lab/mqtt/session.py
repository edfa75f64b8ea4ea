"""What the hub remembers of a client that connects with clean_session=0: its subscriptions.

The stock SDKs do not subscribe again after a reconnect (device-sdk-wire.md §4.1), so what is
forgotten here is gone until their program restarts. Messages that wait for the client are kept by
`messages`, which delivers them again; changes of twins and methods do not wait, as with IoT Hub.
"""

import json
import sqlite3
from collections.abc import Mapping

from skerry.wire.identity import Identity

SCHEMA = (
    """
    CREATE TABLE mqtt_session (identity TEXT PRIMARY KEY, filters TEXT NOT NULL) WITHOUT ROWID
    """,
)


class SessionStore:
    """Sessions by identity. To be used on the database's thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def load(self, identity: Identity) -> dict[str, int] | None:
        """Return topic filters with their QoS, None when there is no session."""
        row = self._connection.execute(
            "SELECT filters FROM mqtt_session WHERE identity = ?", (str(identity),)
        ).fetchone()
        return None if row is None else dict(json.loads(row["filters"]))

    def save(self, identity: Identity, filters: Mapping[str, int]) -> None:
        """Make or replace a session."""
        self._connection.execute(
            "INSERT OR REPLACE INTO mqtt_session VALUES (?, ?)",
            (str(identity), json.dumps(filters)),
        )

    def delete(self, identity: Identity) -> None:
        """Forget a session, if there is one."""
        self._connection.execute("DELETE FROM mqtt_session WHERE identity = ?", (str(identity),))
