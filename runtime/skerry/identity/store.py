"""Module identities in files.

    <state>/device_info.json                                     whose modules these are
    <state>/modules/<sha256 of hub>-<sha256 of device>/<letters and digits of id>-<sha256 of id>

A record is one JSON object. The folder's name changes with hub and device, so that modules of a
former identity are never taken for those of the present one. Writes are atomic.
"""

import hashlib
import json
from pathlib import Path

from skerry.base.files import (
    FileTooLargeError,
    id_file_name,
    read_limited,
    remove,
    state_folder,
    write_atomic,
)
from skerry.identity.errors import ParameterError, RecordError
from skerry.identity.model import Module, Settings

_MAX_BYTES = 16 * 1024


class ModuleStore:
    """The modules of one device identity."""

    def __init__(self, state_dir: Path, settings: Settings) -> None:
        hub, device = (
            hashlib.sha256(text.encode()).hexdigest()
            for text in (settings.hub_name, settings.device_id)
        )
        self._folder = state_folder(state_dir / "modules" / f"{hub}-{device}")
        info = {
            "hub_name": settings.hub_name,
            "local_gateway_hostname": settings.gateway_host,
            "device_id": settings.device_id,
        }
        write_atomic(state_dir / "device_info.json", json.dumps(info).encode(), mode=0o600)

    def all(self) -> list[Module]:
        """Return every module, by id."""
        names = sorted(path for path in self._folder.iterdir() if not path.name.startswith("."))
        return sorted((_read(path) for path in names), key=lambda module: module.module_id)

    def find(self, module_id: str) -> Module | None:
        """Return a module or None."""
        path = self._path(module_id)
        return _read(path) if path.exists() else None

    def get(self, module_id: str) -> Module:
        """Return a module; raises ParameterError when there is none."""
        module = self.find(module_id)
        if module is None:
            raise ParameterError(f"there is no module identity {module_id!r}")
        return module

    def put(self, module: Module) -> None:
        """Store a module."""
        record = {
            "moduleId": module.module_id,
            "generationId": module.generation_id,
            "managedBy": module.managed_by,
        }
        write_atomic(self._path(module.module_id), json.dumps(record).encode(), mode=0o600)

    def delete(self, module_id: str) -> None:
        """Remove a module; removing one that is gone already is no error."""
        remove(self._path(module_id))

    def _path(self, module_id: str) -> Path:
        return self._folder / id_file_name(module_id)


def _read(path: Path) -> Module:
    try:
        record = json.loads(read_limited(path, _MAX_BYTES))
        return Module(record["moduleId"], record["generationId"], record["managedBy"])
    except (OSError, ValueError, KeyError, TypeError, FileTooLargeError) as error:
        raise RecordError(
            f"module record {path} cannot be used: {error}; remove it to make a new identity"
        ) from error
