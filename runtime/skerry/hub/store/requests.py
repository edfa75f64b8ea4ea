"""What other processes ask of the hub that has the store open: rows of the table `request`.

A command puts a row and waits for its answer; the hub finds it within a second, does it on the
store's thread and answers in the row. Who asked removes the row.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

from skerry.hub.store.change import Change
from skerry.hub.store.database import FILE, LOCK, connect
from skerry.hub.store.errors import StoreError

_POLL_SECONDS = 0.05


def ask(folder: Path, request: dict[str, object], seconds: float) -> dict[str, object]:
    """Have the running hub do something and return its answer. Raises: StoreError."""
    with closing(connect(folder / FILE)) as connection:
        number = connection.execute(
            "INSERT INTO request (asked) VALUES (?) RETURNING number", (json.dumps(request),)
        ).fetchone()[0]
        try:
            answer = _answer(connection, number, seconds)
        finally:
            connection.execute("DELETE FROM request WHERE number = ?", (number,))
    if answer is None:
        raise StoreError(f"the hub did not answer within {seconds:g} s; see `skerry logs edgeHub`")
    found: dict[str, object] = json.loads(answer)
    if "problem" in found:
        raise StoreError(str(found["problem"]))
    return found


def is_running(folder: Path) -> bool:
    """Return whether a hub has the store of a folder open."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def _answer(connection: sqlite3.Connection, number: int, seconds: float) -> str | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        row = connection.execute(
            "SELECT answer FROM request WHERE number = ?", (number,)
        ).fetchone()
        if row is not None and row[0] is not None:
            return str(row[0])
        time.sleep(_POLL_SECONDS)
    return None


Handle = Callable[[dict[str, object]], "Future[dict[str, object]]"]
Submit = Callable[[Callable[[Change], None]], None]


class Requests:
    """The hub's side; on the store's thread."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._version = -1
        self._begun: set[int] = set()

    def look(self, connection: sqlite3.Connection, submit: Submit) -> None:
        """Begin what other processes have asked for since the last look."""
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        self._version = version
        rows = connection.execute("SELECT number, asked FROM request WHERE answer IS NULL")
        waiting = dict(rows.fetchall())
        new = waiting.keys() - self._begun
        self._begun = set(waiting)
        for number in sorted(new):
            self._begin(number, waiting[number], submit)

    def _begin(self, number: int, asked: str, submit: Submit) -> None:
        def answer(done: "Future[dict[str, object]]") -> None:
            error = done.exception()
            text = json.dumps(done.result() if error is None else {"problem": str(error)})
            submit(
                lambda change: change.connection.execute(
                    "UPDATE request SET answer = ? WHERE number = ?", (text, number)
                ).close()
            )

        try:
            request = dict(json.loads(asked))
        except (ValueError, TypeError):
            return
        self._handle(request).add_done_callback(answer)
