"""What keyd knows: ids of keys, what a handle stands for, who may use which id."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote, urlsplit

from skerry.base.errors import SettingsError
from skerry.keys.errors import ParameterError, UnauthorizedError
from skerry.keys.pkcs11_uri import Pkcs11Uri, parse_uri

ROOT_UID = 0
MAX_ID_LENGTH = 256


class Use(StrEnum):
    """What a symmetric key may be used for, spelled as in `usage`."""

    DERIVE = "derive"
    ENCRYPT = "encrypt"
    SIGN = "sign"


ALL_USES = frozenset(Use)


class PairAlgorithm(StrEnum):
    """A kind of key pair, spelled as in `preferredAlgorithms`."""

    EC_P256 = "ec-p256"
    RSA_2048 = "rsa-2048"
    RSA_4096 = "rsa-4096"


@dataclass(frozen=True)
class SymmetricRef:
    """A symmetric key by its id."""

    key_id: str


@dataclass(frozen=True)
class PairRef:
    """A key pair by its id."""

    key_id: str


@dataclass(frozen=True)
class DerivedRef:
    """HMAC-SHA256 of `data` under a symmetric key; it exists only as long as it is used."""

    base: SymmetricRef
    data: bytes


KeyRef = SymmetricRef | PairRef | DerivedRef


@dataclass(frozen=True)
class Principal:
    """A uid and the key ids it may use; `*` and `?` are wildcards."""

    uid: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Pkcs11Settings:
    """The library of the tokens, and the token where new keys are made (None: in files)."""

    library: str
    base_slot: Pkcs11Uri | None


@dataclass(frozen=True)
class Settings:
    """keyd's settings, upstream's schema."""

    preloaded: Mapping[str, Path | Pkcs11Uri]
    principals: tuple[Principal, ...]
    max_requests: int
    pkcs11: Pkcs11Settings | None = None

    def require(self, uid: int, key_id: str) -> None:
        """Raise UnauthorizedError unless the uid may use the key id; root always may."""
        if uid == ROOT_UID:
            return
        for principal in self.principals:
            if principal.uid == uid and any(matches(p, key_id) for p in principal.keys):
                return
        raise UnauthorizedError(uid, key_id)


def matches(pattern: str, text: str) -> bool:
    """Tell whether a pattern with `*` and `?` matches; brackets mean themselves."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def parse_settings(table: Mapping[str, object]) -> Settings:
    """Turn the merged settings table into Settings; raises SettingsError."""
    max_requests = table.get("max_requests", 10)
    if not isinstance(max_requests, int) or max_requests < 1:
        raise SettingsError(f"max_requests is {max_requests!r}, expected an integer of at least 1")
    principals = table.get("principal", [])
    if not isinstance(principals, list):
        raise SettingsError(f"principal is {principals!r}, expected an array of tables")
    pkcs11 = _pkcs11(_table(table, "aziot_keys"))
    preloaded = {k: _location(k, v) for k, v in _table(table, "preloaded_keys").items()}
    for key_id, location in preloaded.items():
        if isinstance(location, Pkcs11Uri) and pkcs11 is None:
            raise SettingsError(
                f"preloaded_keys.{key_id} is in a PKCS#11 token; give the token's library as "
                "aziot_keys.pkcs11_lib_path"
            )
    return Settings(
        preloaded=preloaded,
        principals=tuple(_principal(entry) for entry in principals),
        max_requests=max_requests,
        pkcs11=pkcs11,
    )


def check_id(key_id: str) -> str:
    """Return the id if it may name a key; raises ParameterError."""
    if not key_id or len(key_id) > MAX_ID_LENGTH or not key_id.isprintable():
        raise ParameterError(
            f"key id {key_id[:40]!r} is not usable; expected 1 to {MAX_ID_LENGTH} printable "
            "characters"
        )
    return key_id


def parse_uses(text: str) -> frozenset[Use]:
    """Parse a comma list out of derive, encrypt, sign; raises ParameterError."""
    words = text.split(",")
    unknown = [word for word in words if word not in Use.__members__.values()]
    if unknown:
        raise ParameterError(f"usage {unknown[0]!r} is not known; expected derive, encrypt, sign")
    if len(set(words)) != len(words):
        raise ParameterError(f"usage {text!r} names the same use twice")
    return frozenset(Use(word) for word in words)


def choose_algorithm(preferred: str | None) -> PairAlgorithm:
    """Return the first known algorithm of a list such as `rsa-2048:ec-p256:*`.

    `*`, or no list, gives EC P-256: it is small and fast on every device.
    """
    for word in (preferred or "*").split(":"):
        if word == "*":
            return PairAlgorithm.EC_P256
        if word in PairAlgorithm.__members__.values():
            return PairAlgorithm(word)
    known = ", ".join(PairAlgorithm)
    raise ParameterError(f"none of the algorithms {preferred!r} is known; expected {known} or *")


def _table(table: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise SettingsError(f"{name} is {value!r}, expected a table")
    return value


def _location(key_id: str, location: object) -> Path | Pkcs11Uri:
    if isinstance(location, str) and location.startswith("pkcs11:"):
        uri = _uri(f"preloaded_keys.{key_id}", location)
        if uri.label is None and uri.object_id is None:
            raise SettingsError(f"preloaded_keys.{key_id} names no object; add object= or id=")
        return uri
    try:
        parts = urlsplit(location) if isinstance(location, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme != "file" or not parts.path.startswith("/"):
        raise SettingsError(
            f"preloaded_keys.{key_id} is not file:///path or pkcs11:token=…;object=…"
        )
    return Path(unquote(parts.path))


def _pkcs11(table: Mapping[str, object]) -> Pkcs11Settings | None:
    library, slot = table.get("pkcs11_lib_path"), table.get("pkcs11_base_slot")
    if library is None and slot is None:
        return None
    if not isinstance(library, str) or not library.startswith("/"):
        raise SettingsError(
            f"aziot_keys.pkcs11_lib_path is {library!r}, expected the path of a PKCS#11 library"
        )
    if slot is None:
        return Pkcs11Settings(library, None)
    if not isinstance(slot, str):
        raise SettingsError("aziot_keys.pkcs11_base_slot is not a string, expected pkcs11:token=…")
    return Pkcs11Settings(library, _uri("aziot_keys.pkcs11_base_slot", slot))


def _uri(key: str, text: str) -> Pkcs11Uri:
    try:
        return parse_uri(text)
    except SettingsError as error:
        raise SettingsError(f"{key}: {error}") from None


def _principal(entry: object) -> Principal:
    if isinstance(entry, dict):
        uid, keys = entry.get("uid"), entry.get("keys")
        if (
            isinstance(uid, int)
            and isinstance(keys, list)
            and all(isinstance(k, str) for k in keys)
        ):
            return Principal(uid, tuple(keys))
    raise SettingsError(f"principal {entry!r} is not {{ uid = NUMBER, keys = [STRINGS] }}")
