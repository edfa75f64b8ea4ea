"""Where the deployment comes from: the twin of `$edgeAgent`, once there is one, else the file.

The precedence: a twin that holds a deployment replaces deployment.json whole, and the last such
twin goes on to do so while the hub is out of reach, also after a restart; until the first one came
deployment.json is in force. It is kept in `<storage>/twin.json` (0600: it may hold passwords).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from skerry.agent.hub_session import TwinView
from skerry.agent.report import fitting
from skerry.base.files import FileTooLargeError, read_limited, write_atomic
from skerry.base.log import Logger

_MAX_BYTES = 4 * 1024 * 1024


class Link(Protocol):
    """What is asked of the connection to the hub; skerry.agent.hub has the real one."""

    twin: TwinView | None

    def report(self, properties: Mapping[str, object]) -> None: ...


class Cloud:
    """Chooses the deployment and hands the report on."""

    def __init__(self, link: Link, folder: Path, log: Logger) -> None:
        self._link = link
        self._path = folder / "twin.json"
        self._log = log
        self._kept = self._load()

    def choose(self, local: object | None) -> object | None:
        """Return the manifest that counts; `local` is the one of the configuration."""
        twin = self._link.twin
        if twin is not None and "schemaVersion" in twin.desired:
            document = _manifest(twin.desired)
            if document != self._kept:
                data = json.dumps(document, separators=(",", ":")).encode()
                write_atomic(self._path, data, mode=0o600)
                self._kept = document
        return local if self._kept is None else self._kept

    def report(self, properties: Mapping[str, object]) -> None:
        """Have the hub told what fits into its twin."""
        self._link.report(fitting(properties))

    def _load(self) -> object | None:
        try:
            document: object = json.loads(read_limited(self._path, _MAX_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, FileTooLargeError) as error:
            self._log.warning("the last twin cannot be read", path=self._path, reason=error)
            return None
        return document


def _manifest(desired: Mapping[str, object]) -> dict[str, object]:
    properties = {name: value for name, value in desired.items() if name != "$metadata"}
    return {"modulesContent": {"$edgeAgent": {"properties.desired": properties}}}
