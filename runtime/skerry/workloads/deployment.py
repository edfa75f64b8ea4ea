"""The deployment that the agent works on, and what it reports about it.

The deployment is a file of the generation in force, read at every request, so a new one needs no
restart. What people and the agent tell each other lies in `<state>/cache/`, 0600:

    deployment_status.json    the reported properties
    deployment_history.json   where the deployment has got to, and those before it
    deployment_request.json   {"id", "action"}: what a person last asked for
    deployment_applied.json   {"over": sha256 of the file, "document"}: a deployment that a person
                              gave by hand; it ends when the file of the generation changes
"""

import hashlib
import json
import secrets
import threading
import time
from pathlib import Path

from skerry.base.errors import SkerryError
from skerry.base.files import FileTooLargeError, mark_of, read_limited, write_atomic

_MAX_BYTES = 4 * 1024 * 1024
_LOOK_SECONDS = 1.0
"""How often the file of the generation is looked at while somebody waits for news."""


class DeploymentError(SkerryError):
    """A file of the deployment that is there and cannot be used."""


class Deployment:
    """Reads deployment.json, keeps the report."""

    def __init__(self, deployment: Path, report: Path) -> None:
        self._deployment = deployment
        self._report = report
        self._history = report.with_name("deployment_history.json")
        self._request = report.with_name("deployment_request.json")
        self._applied = report.with_name("deployment_applied.json")
        self._told = threading.Condition()

    def read(self) -> dict[str, object] | None:
        """Return the whole manifest; None when there is none."""
        applied = _read(self._applied)
        if applied is not None and applied.get("over") == self._file_digest():
            document = applied.get("document")
            if isinstance(document, dict):
                return document
        return _read(self._deployment)

    def apply(self, document: dict[str, object]) -> None:
        """Put a deployment in the place of the file, until that one changes."""
        _write(self._applied, {"over": self._file_digest(), "document": document})
        self._tell()

    def news(self, after: str, seconds: float) -> str:
        """Wait until deployment or request are others than at `after`; returns what to ask next.

        After the time it returns all the same.
        """
        end = time.monotonic() + seconds
        with self._told:
            while (now := self._state()) == after and (left := end - time.monotonic()) > 0:
                self._told.wait(min(left, _LOOK_SECONDS))
        return now

    def history(self) -> dict[str, object] | None:
        """Return where the agent says the deployment has got to; None before it did."""
        return _read(self._history)

    def put_history(self, history: dict[str, object]) -> None:
        """Keep what the agent says about the deployment."""
        _write(self._history, history)

    def request(self) -> dict[str, object] | None:
        """Return what a person last asked for."""
        return _read(self._request)

    def ask(self, action: str) -> dict[str, object]:
        """Keep what a person asks of the agent; returns it with the id that it got."""
        asked: dict[str, object] = {"id": secrets.token_hex(8), "action": action}
        _write(self._request, asked)
        self._tell()
        return asked

    def report(self) -> dict[str, object] | None:
        """Return what the agent last reported; None before it did."""
        return _read(self._report)

    def put_report(self, report: dict[str, object]) -> None:
        """Keep what the agent reports; an unchanged report costs no write."""
        _write(self._report, report)

    def _tell(self) -> None:
        with self._told:
            self._told.notify_all()

    def _state(self) -> str:
        return mark_of(self._deployment, self._applied, self._request)

    def _file_digest(self) -> str:
        try:
            return hashlib.sha256(read_limited(self._deployment, _MAX_BYTES)).hexdigest()
        except FileNotFoundError:
            return ""
        except (OSError, FileTooLargeError) as error:
            raise DeploymentError(f"{self._deployment} cannot be read: {error}") from error


def _write(path: Path, table: dict[str, object]) -> None:
    """Write a file unless it holds the same already: flash wears out."""
    data = json.dumps(table, separators=(",", ":")).encode()
    if not path.is_file() or read_limited(path, _MAX_BYTES) != data:
        write_atomic(path, data, mode=0o600)


def _read(path: Path) -> dict[str, object] | None:
    try:
        value = json.loads(read_limited(path, _MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, FileTooLargeError) as error:
        raise DeploymentError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DeploymentError(f"{path} holds {type(value).__name__}, expected a JSON object")
    return value
