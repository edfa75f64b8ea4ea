"""What certd knows: where certificates come from, who may write which, how each is issued."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from skerry.base.errors import SettingsError
from skerry.certs.errors import ParameterError, UnauthorizedError
from skerry.certs.est_settings import Est, EstLogin, parse_est, parse_login, parse_url
from skerry.certs.renewal import RenewalPolicy, parse_policy
from skerry.keys.model import matches

ROOT_UID = 0
MAX_ID_LENGTH = 256
DEFAULT_EXPIRY_DAYS = 30
EDGE_CA = "aziot-edged-ca"


class Method(StrEnum):
    """Who signs, spelled as in the settings."""

    SELF_SIGNED = "self_signed"
    LOCAL_CA = "local_ca"
    EST = "est"


@dataclass(frozen=True)
class Issuance:
    """How a certificate id is issued; `subject` overrides that of the request when not empty.

    An EST server names and dates its certificates itself: `subject` and `expiry_days` are then not
    used. `url` and `login` are for EST, None where `cert_issuance.est` has them.
    """

    method: Method
    expiry_days: int = DEFAULT_EXPIRY_DAYS
    subject: Mapping[str, str] | None = None
    auto_renew: RenewalPolicy = field(default_factory=RenewalPolicy)
    url: str | None = None
    login: EstLogin | None = None


@dataclass(frozen=True)
class LocalCa:
    """The ids of the certificate and the key pair that `local_ca` issuance signs with."""

    cert_id: str
    key_id: str


@dataclass(frozen=True)
class Principal:
    """A uid and the certificate ids it may write; `*` and `?` are wildcards."""

    uid: int
    certs: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """certd's settings, upstream's schema; a preloaded entry is a file or a list of other ids."""

    preloaded: Mapping[str, Path | tuple[str, ...]]
    issuance: Mapping[str, Issuance]
    local_ca: LocalCa | None
    principals: tuple[Principal, ...]
    max_requests: int
    est: Est = field(default_factory=Est)

    def issuance_of(self, cert_id: str) -> Issuance | None:
        """Return how an id is issued; a certificate made ready for renewal, as what it is for."""
        return self.issuance.get(cert_id) or self.issuance.get(in_use_id(cert_id))

    def may_be_ca(self, cert_id: str) -> bool:
        """Tell whether a CA may issue this id as a CA: the edge CA and the local CA alone."""
        local = self.local_ca.cert_id if self.local_ca is not None else None
        return in_use_id(cert_id) in (EDGE_CA, local)

    def require(self, uid: int, cert_id: str) -> None:
        """Raise UnauthorizedError unless the uid may write the id; root always may."""
        if uid == ROOT_UID:
            return
        for principal in self.principals:
            if principal.uid == uid and any(matches(p, cert_id) for p in principal.certs):
                return
        raise UnauthorizedError(uid, cert_id)


def parse_settings(settings: Mapping[str, object]) -> Settings:
    """Turn the merged settings table into Settings; raises SettingsError."""
    issuance = dict(_table(settings, "cert_issuance"))
    est = issuance.pop("est", None)
    local_ca = issuance.pop("local_ca", None)
    max_requests = settings.get("max_requests", 10)
    if not isinstance(max_requests, int) or max_requests < 1:
        raise SettingsError(f"max_requests is {max_requests!r}, expected an integer of at least 1")
    principals = settings.get("principal", [])
    if not isinstance(principals, list):
        raise SettingsError(f"principal is {principals!r}, expected an array of tables")
    return Settings(
        preloaded={k: _location(k, v) for k, v in _table(settings, "preloaded_certs").items()},
        issuance={cert_id: _issuance(cert_id, entry) for cert_id, entry in issuance.items()},
        local_ca=None if local_ca is None else _local_ca(local_ca),
        est=parse_est(est, "cert_issuance.est"),
        principals=tuple(_principal(entry) for entry in principals),
        max_requests=max_requests,
    )


def in_use_id(cert_id: str) -> str:
    """Return the id that a certificate is renewed for under this one, or the id itself."""
    return cert_id.removesuffix("-temp")


def check_id(cert_id: str) -> str:
    """Return the id if it may name a certificate; raises ParameterError."""
    if not cert_id or len(cert_id) > MAX_ID_LENGTH or not cert_id.isprintable():
        raise ParameterError(
            f"certificate id {cert_id[:40]!r} is not usable; expected 1 to {MAX_ID_LENGTH} "
            "printable characters"
        )
    return cert_id


def _table(settings: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = settings.get(name, {})
    if not isinstance(value, dict):
        raise SettingsError(f"{name} is {value!r}, expected a table")
    return value


def _location(cert_id: str, value: object) -> Path | tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return tuple(value)
    if isinstance(value, str) and value.startswith("/"):
        return Path(value)
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme != "file" or not parts.path.startswith("/"):
        raise SettingsError(
            f"preloaded_certs.{cert_id} is {value!r}, expected file:///path, /path or a list of ids"
        )
    return Path(unquote(parts.path))


def _issuance(cert_id: str, entry: object) -> Issuance:
    where = f"cert_issuance.{cert_id}"
    if not isinstance(entry, dict):
        raise SettingsError(f"{where} is {entry!r}, expected a table")
    method = entry.get("method")
    if not isinstance(method, str) or method not in Method.__members__.values():
        raise SettingsError(f"{where}.method is {method!r}, expected one of {', '.join(Method)}")
    days = entry.get("expiry_days", DEFAULT_EXPIRY_DAYS)
    if not isinstance(days, int) or days < 1:
        raise SettingsError(f"{where}.expiry_days is {days!r}, expected an integer of at least 1")
    subject = entry.get("subject")
    if entry.get("common_name") is not None:
        subject = {"CN": entry["common_name"]}
    if subject is not None and not (
        isinstance(subject, dict) and all(isinstance(value, str) for value in subject.values())
    ):
        raise SettingsError(f"{where}.subject is {subject!r}, expected a table of strings")
    url = entry.get("url")
    return Issuance(
        Method(method),
        days,
        subject,
        parse_policy(entry.get("auto_renew", {}), f"{where}.auto_renew"),
        None if url is None else parse_url(url, f"{where}.url"),
        parse_login(entry, where),
    )


def _local_ca(entry: object) -> LocalCa:
    match entry:
        case {"cert": str(cert_id), "pk": str(key_id)}:
            return LocalCa(cert_id, key_id)
    raise SettingsError(f"cert_issuance.local_ca is {entry!r}, expected cert and pk, both ids")


def _principal(entry: object) -> Principal:
    match entry:
        case {"uid": int(uid), "certs": list(certs)} if all(isinstance(c, str) for c in certs):
            return Principal(uid, tuple(certs))
    raise SettingsError(f"principal {entry!r} is not {{ uid = NUMBER, certs = [STRINGS] }}")
