"""The deployment that the agent works on, and what it reports about it.

The deployment is a file of the generation in force, read at every request, so a new one needs no
restart. The report is kept in `<state>/cache/deployment_status.json`.
"""

import json
from pathlib import Path

from skerry.base.errors import SkerryError
from skerry.base.files import FileTooLargeError, read_limited, write_atomic

_MAX_BYTES = 4 * 1024 * 1024


class DeploymentError(SkerryError):
    """A file of the deployment that is there and cannot be used."""


class Deployment:
    """Reads deployment.json, keeps the report."""

    def __init__(self, deployment: Path, report: Path) -> None:
        self._deployment = deployment
        self._report = report

    def read(self) -> dict[str, object] | None:
        """Return the whole manifest; None when there is none."""
        return _read(self._deployment)

    def report(self) -> dict[str, object] | None:
        """Return what the agent last reported; None before it did."""
        return _read(self._report)

    def put_report(self, report: dict[str, object]) -> None:
        """Keep what the agent reports; an unchanged report costs no write."""
        data = json.dumps(report, separators=(",", ":")).encode()
        if not self._report.is_file() or read_limited(self._report, _MAX_BYTES) != data:
            write_atomic(self._report, data, mode=0o600)


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
