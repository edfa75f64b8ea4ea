"""`cert_issuance.est`, and what a single certificate says of EST: upstream's schema."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from skerry.base.errors import SettingsError
from skerry.base.log import Secret
from skerry.certs.renewal import RenewalPolicy, parse_policy

_LOGIN = (
    "username", "password", "headers", "identity_cert", "identity_pk",
    "bootstrap_identity_cert", "bootstrap_identity_pk",
)  # fmt: skip


@dataclass(frozen=True)
class TlsIdentity:
    """The ids of a certificate with certd and of its key with keyd."""

    cert_id: str
    key_id: str


@dataclass(frozen=True)
class EstLogin:
    """What the server is shown; `bootstrap` is used where there is no `identity` yet."""

    username: str | None = None
    password: Secret | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    identity: TlsIdentity | None = None
    bootstrap: TlsIdentity | None = None


@dataclass(frozen=True)
class Est:
    """What holds for all certificates; `urls` has `default` and ids of certificates."""

    trusted: tuple[str, ...] = ()
    login: EstLogin = field(default_factory=EstLogin)
    urls: Mapping[str, str] = field(default_factory=dict)
    identity_auto_renew: RenewalPolicy = field(default_factory=RenewalPolicy)


def parse_est(table: object, where: str) -> Est:
    """Read `cert_issuance.est`, None for a table that is not there; raises SettingsError."""
    if table is None:
        return Est()
    if not isinstance(table, dict):
        raise SettingsError(f"{where} is {table!r}, expected a table")
    trusted = table.get("trusted_certs", [])
    if not isinstance(trusted, list) or not all(isinstance(entry, str) for entry in trusted):
        raise SettingsError(f"{where}.trusted_certs is {trusted!r}, expected a list of ids")
    urls = _strings(table.get("urls", {}), f"{where}.urls")
    return Est(
        tuple(trusted),
        parse_login(table, where) or EstLogin(),
        {name: parse_url(url, f"{where}.urls.{name}") for name, url in urls.items()},
        parse_policy(table.get("identity_auto_renew", {}), f"{where}.identity_auto_renew"),
    )


def parse_login(table: Mapping[str, object], where: str) -> EstLogin | None:
    """Read the login of a table, None where it says nothing of one; raises SettingsError."""
    if not any(name in table for name in _LOGIN):
        return None
    username, password = table.get("username"), table.get("password")
    if (username is None) != (password is None):
        raise SettingsError(f"{where} has one of username and password, expected both or neither")
    if not isinstance(username, str | None) or not isinstance(password, str | None):
        raise SettingsError(f"{where}.username and password have to be texts")
    identity = _identity(table, "identity", where)
    bootstrap = _identity(table, "bootstrap_identity", where)
    if bootstrap is not None and (identity is None or identity.cert_id != identity.key_id):
        raise SettingsError(
            f"{where}.bootstrap_identity_cert needs identity_cert and identity_pk, of one id, "
            "under which the identity that it obtains is kept"
        )
    return EstLogin(
        username,
        None if password is None else Secret(password),
        _strings(table.get("headers", {}), f"{where}.headers"),
        identity,
        bootstrap,
    )


def parse_url(url: object, where: str) -> str:
    """Read the address of an EST server; raises SettingsError."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is not None and parts.scheme == "https" and parts.hostname and parts.port != 0:
            return parts.geturl().rstrip("/")
    except ValueError:
        pass
    raise SettingsError(
        f"{where} is {url!r}, expected https://host[:port]/.well-known/est; "
        "EST without TLS would trust whoever answers"
    )


def _identity(table: Mapping[str, object], name: str, where: str) -> TlsIdentity | None:
    cert_id, key_id = table.get(f"{name}_cert"), table.get(f"{name}_pk")
    if cert_id is None and key_id is None:
        return None
    if not isinstance(cert_id, str) or not isinstance(key_id, str):
        raise SettingsError(f"{where} needs both {name}_cert and {name}_pk, each an id")
    return TlsIdentity(cert_id, key_id)


def _strings(table: object, where: str) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise SettingsError(f"{where} is {table!r}, expected a table of strings")
    return dict(table)
