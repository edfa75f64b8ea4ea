"""Uploads under way: who may write which file, and for how long.

An upload begins with a correlation id and a secret that stands for Azure Storage's signature; it
ends when the device says so, or after an hour. An upload that succeeded is told to services.
"""

import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from skerry_lab.messages.queue import to_number
from skerry_lab.messages.records import RecordQueue, Records
from skerry_lab.registry.errors import HubError, bad_argument

MAX_ACTIVE = 10
LIFETIME = timedelta(hours=1)
CONTAINER = "files"

_MAX_NAME = 1024
SCHEMA = (
    """
    CREATE TABLE upload (
        correlation_id TEXT PRIMARY KEY, device_id TEXT NOT NULL REFERENCES device
        ON DELETE CASCADE, name TEXT NOT NULL, secret TEXT NOT NULL, begun INTEGER NOT NULL
    );
    CREATE INDEX upload_device ON upload (device_id, name)
    """,
)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload; `name` is the file's as the device chose it."""

    correlation_id: str
    device_id: str
    name: str
    secret: str = field(repr=False)


class Uploads:
    """Reads and writes uploads. Every method runs on the database's thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        records: Records,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._connection = connection
        self._records = records
        self._random_bytes = random_bytes

    def begin(self, device_id: str, name: str, now: datetime) -> Upload:
        """Let a device write a file. Raises: HubError 400, 403 (too many at once)."""
        if not 0 < len(name) <= _MAX_NAME:
            raise bad_argument(
                f"blobName has {len(name)} characters, expected 1 to {_MAX_NAME} of them"
            )
        row = self._connection.execute(
            "SELECT count(*) FROM upload WHERE device_id = ?", (device_id,)
        ).fetchone()
        if row[0] >= MAX_ACTIVE:
            raise HubError(
                403,
                "DeviceMaximumActiveFileUploadLimitExceeded",
                f"Number of active file upload requests cannot exceed {MAX_ACTIVE}",
            )
        upload = Upload(self._random_bytes(16).hex(), device_id, name, self._random_bytes(32).hex())
        self._connection.execute(
            "INSERT INTO upload VALUES (?, ?, ?, ?, ?)",
            (upload.correlation_id, device_id, name, upload.secret, to_number(now)),
        )
        return upload

    def forget(self, now: datetime) -> list[tuple[str, str]]:
        """End what has lasted too long; returns (device id, name) that nobody writes any more."""
        ended = self._connection.execute(
            "DELETE FROM upload WHERE begun <= ? RETURNING device_id, name",
            (to_number(now - LIFETIME),),
        ).fetchall()
        active = {
            (row["device_id"], row["name"])
            for row in self._connection.execute("SELECT device_id, name FROM upload")
        }
        return sorted({(row["device_id"], row["name"]) for row in ended} - active)

    def check(self, device_id: str, name: str, secret: str, now: datetime) -> None:
        """Check that a file may be written with a secret. Raises: HubError 403."""
        rows = self._connection.execute(
            "SELECT secret FROM upload WHERE device_id = ? AND name = ? AND begun > ?",
            (device_id, name, to_number(now - LIFETIME)),
        )
        sent = secret.encode()
        if not any(secrets.compare_digest(row["secret"].encode(), sent) for row in rows):
            raise HubError(403, "AuthenticationFailed", "the signature is not for this file")

    def get(self, device_id: str, correlation_id: str) -> Upload:
        """Return an upload of a device. Raises: HubError 404."""
        row = self._connection.execute(
            "SELECT * FROM upload WHERE device_id = ? AND correlation_id = ?",
            (device_id, correlation_id),
        ).fetchone()
        if row is None:
            raise HubError(404, "NotFound", f"no upload {correlation_id[:64]!r} is under way")
        return Upload(row["correlation_id"], row["device_id"], row["name"], row["secret"])

    def finish(self, upload: Upload, host: str, size: int | None, now: datetime) -> None:
        """End an upload; one of `size` bytes has succeeded and is told to services."""
        self._connection.execute(
            "DELETE FROM upload WHERE correlation_id = ?", (upload.correlation_id,)
        )
        if size is None:
            return
        path = f"{upload.device_id}/{upload.name}"
        record = {
            "deviceId": upload.device_id,
            "blobUri": f"https://{host}/{CONTAINER}/{path}",
            "blobName": path,
            "lastUpdatedTime": now.isoformat(),
            "blobSizeInBytes": size,
            "enqueuedTimeUtc": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        self._records.put(RecordQueue.FILES, record, now)
