"""Many devices at once: each entry is whole or not at all, and says what was wrong with it.

An entry is `{"id", "moduleId", "importMode", "eTag", "status", "statusReason", "authentication",
"capabilities", "deviceScope", "parentScopes", "tags", "properties", "twinETag"}`, as the service
SDK's ExportImportDevice (device-sdk-wire.md §4.4).
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from skerry.wire.identity import Identity
from skerry_lab.errors import ApiError
from skerry_lab.registry.errors import HubError, bad_argument
from skerry_lab.registry.model import device_from, module_from
from skerry_lab.registry.service import ANY, Registry
from skerry_lab.twins.service import Twins

MAX_ENTRIES = 100


class Mode(StrEnum):
    """What is to be done with a device or module."""

    CREATE = "create"
    UPDATE = "update"
    UPDATE_IF_MATCH = "updateIfMatchETag"
    DELETE = "delete"
    DELETE_IF_MATCH = "deleteIfMatchETag"
    UPDATE_TWIN = "updateTwin"
    UPDATE_TWIN_IF_MATCH = "updateTwinIfMatchETag"


@dataclass(frozen=True)
class Failure:
    """An entry that was not done; `code` and `message` are those of its own request."""

    identity: Identity
    operation: str
    code: str
    message: str


class Bulk:
    """To be called on the database's thread."""

    def __init__(self, connection: sqlite3.Connection, registry: Registry, twins: Twins) -> None:
        self._connection = connection
        self._registry = registry
        self._twins = twins

    def run(self, entries: Sequence[object]) -> list[Failure]:
        """Do what can be done and return what cannot. Raises: HubError 400, 413 for all of it."""
        if len(entries) > MAX_ENTRIES:
            raise HubError(
                413,
                "TooManyDevices",
                f"there are {len(entries)} devices, expected at most {MAX_ENTRIES}",
            )
        read = [_entry(entry) for entry in entries]
        failures: list[Failure] = []
        seen: set[Identity] = set()
        for identity, entry in read:
            operation = str(entry.get("importMode"))
            self._connection.execute("SAVEPOINT bulk")
            try:
                if identity in seen:
                    raise HubError(
                        400, "DeviceDefinedMultipleTimes", f"{identity} is in the list already"
                    )
                self._do(identity, entry)
            except ApiError as error:
                self._connection.execute("ROLLBACK TO bulk")
                failures.append(Failure(identity, operation, str(error.code), str(error)))
            finally:
                self._connection.execute("RELEASE bulk")
            seen.add(identity)
        return failures

    def _do(self, identity: Identity, entry: Mapping[str, object]) -> None:
        mode = _mode(entry)
        etag = _etag(entry, "eTag") if mode in (Mode.UPDATE_IF_MATCH, Mode.DELETE_IF_MATCH) else ANY
        match mode:
            case Mode.CREATE:
                self._put(identity, entry, None)
            case Mode.UPDATE | Mode.UPDATE_IF_MATCH:
                self._put(identity, entry, etag)
            case Mode.DELETE | Mode.DELETE_IF_MATCH:
                self._delete(identity, etag)
                return
        twin_etag = _etag(entry, "twinETag") if mode is Mode.UPDATE_TWIN_IF_MATCH else ANY
        tags, desired = entry.get("tags"), _desired(entry)
        if tags is not None or desired is not None or mode is Mode.UPDATE_TWIN_IF_MATCH:
            self._twins.patch(identity, tags=tags, desired=desired, if_match=twin_etag)

    def _put(self, identity: Identity, entry: Mapping[str, object], if_match: str | None) -> None:
        """Create or update; an update that names no authentication, or no parent, leaves it."""
        device_id, module_id = identity.device_id, identity.module_id
        registry, keys = self._registry, self._registry.fresh_keys()
        is_kept = if_match is not None and entry.get("authentication") is None
        if module_id is None:
            device = device_from(entry, device_id, keys)
            former = None if if_match is None else registry.device(device_id)
            if former is not None and is_kept:
                device = replace(device, authentication=former.authentication)
            if former is not None and not _names_parent(entry):
                device = replace(device, scope=former.scope, parent_scopes=former.parent_scopes)
            registry.put_device(device, if_match)
        else:
            module = module_from(entry, device_id, module_id, keys)
            if is_kept:
                before = registry.module(device_id, module_id)
                module = replace(
                    module, authentication=before.authentication, managed_by=before.managed_by
                )
            registry.put_module(module, if_match)

    def _delete(self, identity: Identity, if_match: str) -> None:
        if identity.module_id is None:
            self._registry.delete_device(identity.device_id, if_match)
        else:
            self._registry.delete_module(identity.device_id, identity.module_id, if_match)


def _entry(entry: object) -> tuple[Identity, dict[str, object]]:
    if not isinstance(entry, dict):
        raise bad_argument(f"a device in the list is {type(entry).__name__}, expected an object")
    device_id, module_id = entry.get("id"), entry.get("moduleId")
    if not isinstance(device_id, str) or not (module_id is None or isinstance(module_id, str)):
        raise bad_argument(f"a device in the list has id {device_id!r}, expected a text")
    return Identity(device_id, module_id or None), entry


def _names_parent(entry: Mapping[str, object]) -> bool:
    return any(entry.get(name) is not None for name in ("deviceScope", "parentScopes"))


def _mode(entry: Mapping[str, object]) -> Mode:
    text = entry.get("importMode")
    if text not in list(Mode):
        raise bad_argument(f"importMode is {text!r}, expected one of {', '.join(Mode)}")
    return Mode(str(text))


def _etag(entry: Mapping[str, object], name: str) -> str:
    text = entry.get(name)
    if not isinstance(text, str) or not text:
        raise bad_argument(f"{name} is {text!r}, expected the etag that is to match")
    return text.strip('"')


def _desired(entry: Mapping[str, object]) -> object:
    properties = entry.get("properties")
    if properties is None:
        return None
    if not isinstance(properties, dict):
        raise bad_argument("properties is not a JSON object")
    return properties.get("desired")
