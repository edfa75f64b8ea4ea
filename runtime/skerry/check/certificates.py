"""What `skerry certificates list` says: which certificates a device has, and when each is renewed.

Pure: settings and certificates come in, rows go out. Ids are those of certd; the time of the next
renewal is the policy's, by the same arithmetic as that of the services that renew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from skerry.base.upkeep import rfc3339
from skerry.certs.renewal import RenewalPolicy, life_of, parse_policy

DEVICE_ID = "device-id"
EDGE_CA = "aziot-edged-ca"
LOCAL_CA = "local-ca"
_MODULES = "aziot-edged/module/"
_SECTIONS = ("authentication", "attestation")

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Watched:
    """One certificate to look for; `policy` None means that nobody renews it by itself."""

    cert_id: str
    role: str
    policy: RenewalPolicy | None = None


@dataclass(frozen=True)
class Row:
    """One certificate, as `--output json` shows it; times are RFC 3339 in UTC."""

    id: str
    role: str
    subject: str | None = None
    issuer: str | None = None
    not_before: str | None = None
    not_after: str | None = None
    next_renewal: str | None = None
    state: str = "missing"
    problem: str | None = None


def watched(
    certd: Settings, identityd: Settings, edged: Settings, modules: Mapping[str, str]
) -> list[Watched]:
    """Return the certificates that settings speak of; `modules` are generations by name."""
    found = [*_identity(identityd), *_edge_ca(edged), *_est(certd)]
    issuance = _table(certd, "cert_issuance")
    if "local_ca" in issuance:
        made = _table(issuance, LOCAL_CA)
        policy = parse_policy(made.get("auto_renew", {}), "auto_renew") if made else None
        found.append(Watched(LOCAL_CA, "local CA", policy))
    found += [
        Watched(f"{_MODULES}{name}:{generation}:server", f"server of {name}")
        for name, generation in sorted(modules.items())
    ]
    named = {one.cert_id for one in found}
    for cert_id, value in _table(certd, "preloaded_certs").items():
        if isinstance(value, str) and cert_id not in named:
            found.append(Watched(cert_id, "preloaded"))
    return found


def row(one: Watched, pem: bytes | None, now: datetime, problem: str | None = None) -> Row:
    """Describe the first certificate of a chain; without a chain it is missing."""
    if pem is None:
        return Row(one.cert_id, one.role, problem=problem)
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
    except ValueError as error:
        return Row(one.cert_id, one.role, state="unreadable", problem=str(error))
    life = life_of(certificate)
    state = "expired" if now >= life.end else "not yet valid" if now < life.start else "valid"
    return Row(
        id=one.cert_id,
        role=one.role,
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=rfc3339(life.start),
        not_after=rfc3339(life.end),
        next_renewal=rfc3339(one.policy.next_try(life)) if one.policy is not None else None,
        state=state,
    )


def _identity(identityd: Settings) -> Iterator[Watched]:
    provisioning = _table(identityd, "provisioning")
    for section in _SECTIONS:
        proof = _table(provisioning, section)
        if "identity_cert" in proof:
            policy = _policy(proof, "identity_auto_renew")
            yield Watched(str(proof["identity_cert"]), "device identity", policy)


def _edge_ca(edged: Settings) -> Iterator[Watched]:
    edge_ca = _table(edged, "edge_ca")
    yield Watched(str(edge_ca.get("cert", EDGE_CA)), "edge CA", _policy(edge_ca, "auto_renew"))


def _est(certd: Settings) -> Iterator[Watched]:
    issuance = _table(certd, "cert_issuance")
    est = _table(issuance, "est")
    policy = parse_policy(est.get("identity_auto_renew", {}), "identity_auto_renew")
    # a certificate and its temporary one are issued by the same settings
    logins = {name: entry for name, entry in issuance.items() if not name.endswith("-temp")}
    for login in logins.values():
        if isinstance(login, dict) and "identity_cert" in login:
            # what came with the configuration is not ours to renew
            own = policy if "bootstrap_identity_cert" in login else None
            yield Watched(str(login["identity_cert"]), "EST identity", own)


def _policy(table: Settings, key: str) -> RenewalPolicy | None:
    return parse_policy(table[key], key) if key in table else None


def _table(settings: Settings, key: str) -> Settings:
    value = settings.get(key)
    return value if isinstance(value, dict) else {}
