"""What tpmd is told: how to reach the TPM, where its keys lie, who may ask."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from skerry.base.errors import SettingsError
from skerry.base.log import Secret
from skerry.tpm.errors import UnauthorizedError

ENDORSEMENT_HANDLE = 0x8101_0001
STORAGE_HANDLE = 0x8100_0001
_PERSISTENT = 0x8100_0000
_DEFAULT_INDEX = 0x100
_MAX_INDEX = 0x7F_FFFF
_ROOT_UID = 0
_IDENTITY_UID = 13614
"""identityd's user, docs/interfaces.md section 1."""

_TABLES = {"tcti", "auth_key_index", "hierarchy_authorization", "max_requests", "principal"}


@dataclass(frozen=True)
class Settings:
    """tpmd's settings, upstream's schema; `uids` are those of `[[principal]]` tables."""

    tcti: str = "device"
    auth_key_index: int = _DEFAULT_INDEX
    endorsement: Secret = field(default=Secret(""))
    owner: Secret = field(default=Secret(""))
    max_requests: int = 10
    uids: tuple[int, ...] = (_IDENTITY_UID,)

    @property
    def auth_handle(self) -> int:
        """Where the authentication key lies."""
        return _PERSISTENT + self.auth_key_index

    @property
    def storage_handles(self) -> tuple[int, int]:
        """Where the storage root key may lie: the usual place, and one for when that is taken.

        systemd keeps a storage key of its own, an ECC one, at the usual place.
        """
        beside = self.auth_key_index - 1 if self.auth_key_index == _MAX_INDEX else None
        return STORAGE_HANDLE, _PERSISTENT + (beside or self.auth_key_index + 1)

    def require(self, uid: int) -> None:
        """Raise UnauthorizedError unless the uid is root's or a principal's."""
        if uid != _ROOT_UID and uid not in self.uids:
            raise UnauthorizedError(uid)


def parse_settings(table: Mapping[str, object]) -> Settings:
    """Turn the merged settings table into Settings; raises SettingsError."""
    unknown = sorted(table.keys() - _TABLES)
    if unknown:
        raise SettingsError(f"{unknown[0]} is not a setting of tpmd; expected {sorted(_TABLES)}")
    authorization = table.get("hierarchy_authorization", {})
    if not isinstance(authorization, dict):
        raise SettingsError("hierarchy_authorization is not a table")
    index = _number(table, "auth_key_index", _DEFAULT_INDEX, 0, _MAX_INDEX)
    if index == STORAGE_HANDLE - _PERSISTENT:
        raise SettingsError(f"auth_key_index {index} is the place of the storage root key")
    return Settings(
        tcti=_text(table, "tcti", "device"),
        auth_key_index=index,
        endorsement=Secret(_text(authorization, "endorsement", "")),
        owner=Secret(_text(authorization, "owner", "")),
        max_requests=_number(table, "max_requests", 10, 1, 1000),
        uids=_uids(table.get("principal", [{"uid": _IDENTITY_UID}])),
    )


def _text(table: Mapping[str, object], name: str, default: str) -> str:
    value = table.get(name, default)
    if not isinstance(value, str) or "\0" in value:
        # not shown: two of them are passwords
        raise SettingsError(f"{name} is {type(value).__name__}, expected a string without NUL")
    return value


def _number(table: Mapping[str, object], name: str, default: int, least: int, most: int) -> int:
    value = table.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise SettingsError(f"{name} is {value!r}, expected an integer from {least} to {most}")
    return value


def _uids(value: object) -> tuple[int, ...]:
    entries = value if isinstance(value, list) else [value]
    found = [entry.get("uid") if isinstance(entry, dict) else None for entry in entries]
    uids = tuple(uid for uid in found if isinstance(uid, int) and not isinstance(uid, bool))
    if len(uids) != len(entries):
        raise SettingsError(f"principal is {value!r}, expected tables {{ uid = NUMBER }}")
    return uids
