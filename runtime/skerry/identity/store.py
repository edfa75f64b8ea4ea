"""The identity of the device and of its modules in files: what it is without any network.

    <state>/device_info.json                                     the device, and how it became that
    <state>/prev_state.json                                      the host's modules as reconciled
    <state>/modules/<sha256 of hub>-<sha256 of device>/<letters and digits of id>-<sha256 of id>

A record is one JSON object. The folder's name changes with hub and device, so that modules of a
former identity are never taken for those of the present one. Writes are atomic. A record of the
device that cannot be read counts as none: the device is provisioned again.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from skerry.base.files import (
    FileTooLargeError,
    id_file_name,
    read_limited,
    remove,
    state_folder,
    write_atomic,
)
from skerry.base.log import Logger
from skerry.identity.errors import ParameterError, RecordError
from skerry.identity.model import Auth, Device, Module

_MAX_BYTES = 16 * 1024


class DeviceStore:
    """What the device is, and for which settings it became that."""

    def __init__(self, state_dir: Path, log: Logger) -> None:
        self._state_dir = state_dir
        self._info = state_dir / "device_info.json"
        self._previous = state_dir / "prev_state.json"
        self._log = log

    def find(self, fingerprint: str) -> Device | None:
        """Return the device that these settings led to, None where there is none."""
        record = self._read(self._info)
        if record is None or record.get("settings") != fingerprint:
            return None
        try:
            return Device(
                hub_name=str(record["hub_name"]),
                gateway_host=str(record["local_gateway_hostname"]),
                device_id=str(record["device_id"]),
                auth=Auth(str(record["auth"])),
            )
        except (KeyError, ValueError) as error:
            self._log.warning(
                "the record of this device is not used", path=self._info, reason=error
            )
            return None

    def put(self, device: Device, fingerprint: str) -> None:
        """Store the device."""
        record = {
            "hub_name": device.hub_name,
            "local_gateway_hostname": device.gateway_host,
            "device_id": device.device_id,
            "auth": device.auth.value,
            "settings": fingerprint,
        }
        self._write(self._info, record)

    def reconciled(self) -> frozenset[str] | None:
        """Return the host's modules as they were last made right with the hub, None for never."""
        record = self._read(self._previous)
        names = None if record is None else record.get("modules")
        return frozenset(map(str, names)) if isinstance(names, list) else None

    def put_reconciled(self, names: frozenset[str]) -> None:
        """Store them."""
        self._write(self._previous, {"modules": sorted(names)})

    def forget_reconciled(self) -> None:
        """Have them made right again."""
        remove(self._previous)

    def modules(self, device: Device) -> "ModuleStore":
        """Return the modules of a device."""
        return ModuleStore(self._state_dir, device)

    def _write(self, path: Path, record: Mapping[str, object]) -> None:
        state_folder(self._state_dir)
        write_atomic(path, json.dumps(record).encode(), mode=0o600)

    def _read(self, path: Path) -> dict[str, object] | None:
        try:
            record = json.loads(read_limited(path, _MAX_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, FileTooLargeError) as error:
            self._log.warning("a record is not used", path=path, reason=error)
            return None
        return record if isinstance(record, dict) else None


class ModuleStore:
    """The modules of one device identity."""

    def __init__(self, state_dir: Path, device: Device) -> None:
        hub, own = (
            hashlib.sha256(text.encode()).hexdigest()
            for text in (device.hub_name, device.device_id)
        )
        self._folder = state_folder(state_dir / "modules" / f"{hub}-{own}")

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
    except (OSError, ValueError, KeyError, TypeError, RecursionError, FileTooLargeError) as error:
        raise RecordError(
            f"module record {path} cannot be used: {error}; remove it to make a new identity"
        ) from error
