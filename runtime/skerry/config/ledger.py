"""What the plan collects for keyd and certd while it goes through the certificates.

Rights are kept per service and in the order in which they were given; upstream's ids throughout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from skerry.config.model import AutoRenew, EstAuth, Issuance, IssuanceMethod, Preloaded
from skerry.config.site import Ids

COMMON_NAME_CHARACTERS = 64  # RFC 5280, appendix A.1: ub-common-name


@dataclass
class Ledger:
    """Grows while the plan is made; the tables of keyd.toml and certd.toml are read from it."""

    preloaded_keys: dict[str, str] = field(default_factory=dict)
    preloaded_certs: dict[str, object] = field(default_factory=dict)
    issued: dict[str, dict[str, object]] = field(default_factory=dict)
    key_rights: dict[str, list[str]] = field(default_factory=dict)
    cert_rights: dict[str, list[str]] = field(default_factory=dict)

    def may_use_key(self, service: str, *ids: str) -> None:
        _add(self.key_rights.setdefault(service, []), ids)

    def may_change_cert(self, service: str, *ids: str) -> None:
        _add(self.cert_rights.setdefault(service, []), ids)

    def preload(self, name: str, pair: Preloaded) -> None:
        """Take over a certificate and key that are there already."""
        self.preloaded_certs[name] = pair.cert
        self.preloaded_keys[name] = pair.pk

    def issue(self, name: str, issuance: Issuance, subject: Mapping[str, object]) -> None:
        """Have certd make a certificate; one that signs itself needs its key in certd."""
        self.issued[name] = {"method": issuance.method.value}
        if issuance.method is IssuanceMethod.EST:
            if issuance.url is not None:
                self.issued[name]["url"] = issuance.url
            if issuance.auth is not None:
                self.issued[name].update(self.est_auth(issuance.auth, f"-{name}", AutoRenew()))
        elif issuance.method is IssuanceMethod.SELF_SIGNED:
            self.may_use_key("certd", name)
        if issuance.expiry_days is not None:
            self.issued[name]["expiry_days"] = issuance.expiry_days
        self.issued[name].update(subject)

    def issue_again(self, name: str, rotate_key: bool) -> None:
        """Let a certificate be renewed under a temporary id, of the same making."""
        temporary = f"{name}-temp"
        self.issued[temporary] = self.issued[name]
        if rotate_key and name in self.key_rights.get("certd", ()):
            self.may_use_key("certd", temporary)

    def est_auth(self, auth: EstAuth, suffix: str, renew: AutoRenew) -> dict[str, object]:
        """Return certd's settings for an EST login; `suffix` keeps the ids of several apart."""
        identity, bootstrap = f"est-id{suffix}", f"est-bootstrap-id{suffix}"
        table: dict[str, object] = {}
        if auth.username is not None and auth.password is not None:
            table |= {"username": auth.username, "password": auth.password.reveal()}
        if auth.bootstrap_identity_cert is not None and auth.bootstrap_identity_pk is not None:
            pair = Preloaded(auth.bootstrap_identity_cert, auth.bootstrap_identity_pk)
            self.preload(bootstrap, pair)
            self.may_use_key("certd", bootstrap, identity)
            if renew.rotate_key:
                self.may_use_key("certd", f"{identity}-temp")
            table |= {"identity_cert": identity, "identity_pk": identity}
            table |= {"bootstrap_identity_cert": bootstrap, "bootstrap_identity_pk": bootstrap}
        elif auth.identity_cert is not None and auth.identity_pk is not None:
            self.preload(identity, Preloaded(auth.identity_cert, auth.identity_pk))
            self.may_use_key("certd", identity)
            table |= {"identity_cert": identity, "identity_pk": identity}
        if auth.headers:
            table["headers"] = dict(auth.headers)
        return table

    def key_principals(self, ids: Ids) -> list[dict[str, object]]:
        return [{"uid": ids.of(s), "keys": list(keys)} for s, keys in self.key_rights.items()]

    def cert_principals(self, ids: Ids) -> list[dict[str, object]]:
        return [{"uid": ids.of(s), "certs": list(certs)} for s, certs in self.cert_rights.items()]


def subject_of(issuance: Issuance, forced_common_name: str | None = None) -> dict[str, object]:
    """Return the subject of a certificate as certd's settings have it.

    The name of a device is its identity, so it overrides what the file says, and the other fields
    of a subject stay, their names in capitals.
    """
    if issuance.subject is not None:
        fields = {name.upper(): value for name, value in issuance.subject.items()}
        if forced_common_name is not None:
            fields["CN"] = forced_common_name
        if "CN" in fields:
            fields["CN"] = fields["CN"][:COMMON_NAME_CHARACTERS]
        return {"subject": fields}
    name = forced_common_name or issuance.common_name
    return {} if name is None else {"common_name": name[:COMMON_NAME_CHARACTERS]}


def _add(rights: list[str], ids: tuple[str, ...]) -> None:
    rights += [name for name in ids if name not in rights]
