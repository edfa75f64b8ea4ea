"""Certificates and keys: there, readable, belonging together, and valid for long enough."""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skerry.base.client import ApiError, UnreachableError
from skerry.base.errors import SkerryError
from skerry.certs.model import Settings as CertdSettings
from skerry.certs.model import parse_settings as parse_certd
from skerry.certs.remote_key import remote_key
from skerry.certs.renewal import life_of
from skerry.check.appliance import Appliance, table
from skerry.check.certificates import EDGE_CA, LOCAL_CA, Watched, watched
from skerry.check.model import Check, Finding, Section, error, ignored, ok, warning, worst
from skerry.check.words import days

_SOON = timedelta(days=7)
_ROLES = {
    "identity-certificate-expiry": ("device identity",),
    "est-identity-and-bootstrap-certificate-expiry": ("EST identity", "EST bootstrap"),
    "local-ca-certificate-expiry": ("local CA",),
}
_LIST = "skerry certificates list"
_INSIDE = 500
"""A service failed inside: it tells its journal why, and nobody else."""


@dataclass(frozen=True)
class Pair:
    """A certificate and the key pair that belongs to it; `key_id` may stand alone."""

    role: str
    key_id: str
    cert_id: str | None


def all_watched(appliance: Appliance) -> list[Watched]:
    """Return the certificates that the settings speak of."""
    names = ("certd", "identityd", "edged")
    certd, identityd, edged = (appliance.settings(name) for name in names)
    bootstrap = [
        Watched(pair.cert_id, pair.role) for pair in _bootstraps(appliance) if pair.cert_id
    ]
    return [*watched(certd, identityd, edged, {}), *bootstrap]


def pairs(appliance: Appliance) -> list[Pair]:
    """Return the keys that the settings name, with their certificates."""
    provisioning = table(appliance.settings("identityd"), "provisioning")
    found = []
    for section in ("authentication", "attestation"):
        proof = table(provisioning, section)
        if "identity_cert" in proof:
            cert_id = str(proof["identity_cert"])
            found.append(Pair("device identity", str(proof.get("identity_pk", cert_id)), cert_id))
    edge_ca = table(appliance.settings("edged"), "edge_ca")
    found.append(
        Pair("edge CA", str(edge_ca.get("key", EDGE_CA)), str(edge_ca.get("cert", EDGE_CA)))
    )
    issuance = table(appliance.settings("certd"), "cert_issuance")
    if "local_ca" in issuance:
        local = table(issuance, "local_ca")
        found.append(
            Pair("local CA", str(local.get("pk", LOCAL_CA)), str(local.get("cert", LOCAL_CA)))
        )
    return [*found, *_est(appliance, "identity", "EST identity"), *_bootstraps(appliance)]


def _bootstraps(appliance: Appliance) -> Iterator[Pair]:
    yield from _est(appliance, "bootstrap_identity", "EST bootstrap")


def _est(appliance: Appliance, kind: str, role: str) -> Iterator[Pair]:
    issuance = table(appliance.settings("certd"), "cert_issuance")
    logins = [entry for name, entry in issuance.items() if not name.endswith("-temp")]
    for login in logins:
        if isinstance(login, dict) and f"{kind}_cert" in login:
            yield Pair(role, str(login[f"{kind}_pk"]), str(login[f"{kind}_cert"]))


def _expiry(appliance: Appliance, *, name: str) -> Finding:
    roles = _ROLES[name]
    chosen = [one for one in all_watched(appliance) if one.role in roles]
    if not chosen:
        return ignored(f"this device has no certificate for it ({', '.join(roles)})")
    now = appliance.clock.now()
    found, lines = [], []
    for one in chosen:
        chain = _chain(appliance, one.cert_id)
        if chain is None:
            # made when it is first needed; certs-read says what could not be read
            continue
        found.append(_life(one, chain[0], now))
        lines.append(f"{one.cert_id} until {life_of(chain[0]).end:%Y-%m-%d}")
    return worst(found, ok(*lines) if lines else ignored("no such certificate was made yet"))


def _life(one: Watched, certificate: x509.Certificate, now: datetime) -> Finding:
    life = life_of(certificate)
    who = f"the certificate of the {one.role} ({one.cert_id!r})"
    if now < life.start:
        return error(
            f"{who} is valid from {life.start:%Y-%m-%d %H:%M} UTC only, which is in the future",
            "look at the clock first: skerry check host-local-time clock-trend",
        )
    if now >= life.end:
        renewal = f"sudo systemctl restart skerry-certd; then: {_LIST}"
        return error(
            f"{who} expired {days(now - life.end)} ago",
            renewal if one.policy is not None else "bring a new one and name it in config.toml",
        )
    if life.end - now < _SOON and (one.policy is None or now >= one.policy.next_try(life)):
        by_hand = "bring a new one in time: nothing renews it"
        return warning(
            f"{who} expires in {days(life.end - now)}",
            by_hand if one.policy is None else f"see whether it is renewed: {_LIST}",
        )
    return ok()


def _horizon(appliance: Appliance) -> Finding:
    now = appliance.clock.now()
    failed = _failed_renewals(appliance)
    found, lines = [], []
    soonest: tuple[datetime, str] | None = None
    for one in all_watched(appliance):
        chain = _chain(appliance, one.cert_id)
        if chain is None:
            continue
        life = life_of(chain[0])
        if soonest is None or life.end < soonest[0]:
            soonest = (life.end, one.cert_id)
        tries = [f"{job} last failed {at}" for job, at in failed.items() if one.cert_id in job]
        late = one.policy is not None and now >= one.policy.due(life)
        if life.holds(now) and late and (tries or life.end - now < life.length / 10):
            found.append(
                error(
                    f"the {one.role} expires in {days(life.end - now)} and its renewal fails",
                    "journalctl -u skerry-certd -u skerry-identityd -u skerry-edged says why; "
                    "with EST look at the server: skerry check est-server-https",
                    *tries,
                )
            )
        else:
            found.append(_life(one, chain[0], now))
    if soonest is not None:
        lines.append(f"the next to expire is {soonest[1]}, {soonest[0]:%Y-%m-%d}")
    return worst(found, ok(*lines))


def _failed_renewals(appliance: Appliance) -> dict[str, str]:
    """Return the jobs whose last try failed, with its time, as the services keep them."""
    found: dict[str, str] = {}
    for service in ("certd", "identityd", "edged"):
        try:
            record = json.loads((appliance.paths.state / service / "deadline.json").read_bytes())
        except (OSError, ValueError):
            continue
        failed = record.get("failed") if isinstance(record, dict) else None
        found |= (
            {str(job): str(at) for job, at in failed.items()} if isinstance(failed, dict) else {}
        )
    return found


def _chain(appliance: Appliance, cert_id: str) -> list[x509.Certificate] | None:
    try:
        return appliance.certificate(cert_id)
    except (ApiError, UnreachableError, SkerryError):
        return None


def _preloaded(appliance: Appliance) -> Finding:
    certd = parse_certd(appliance.settings("certd"))
    wanted = [(one.cert_id, one.role) for one in all_watched(appliance)]
    identityd, edged = appliance.settings("identityd"), appliance.settings("edged")
    wanted += [(str(name), "trusted by identityd") for name in identityd.get("trusted_certs", [])]
    bundle = edged.get("trust_bundle_cert")
    wanted += [(str(bundle), "trust bundle")] if bundle is not None else []
    missing = [f"{cert_id} ({role})" for cert_id, role in wanted if not _obtainable(certd, cert_id)]
    if missing:
        return error(
            f"{len(missing)} certificates are neither preloaded nor can they be issued",
            "name a file or a way of issuing in config.toml, then: sudo skerry config apply",
            *missing,
        )
    return ok(f"{len(wanted)} certificates")


def _obtainable(certd: CertdSettings, cert_id: str) -> bool:
    return (
        cert_id in certd.preloaded
        or certd.issuance_of(cert_id) is not None
        or cert_id.startswith("aziot-edged/module/")
        or (certd.local_ca is not None and certd.local_ca.cert_id == cert_id)
        # obtained with the bootstrap identity
        or any(pair.cert_id == cert_id for pair in _logins(certd))
    )


def _logins(certd: CertdSettings) -> Iterator[Pair]:
    entries = [certd.est.login, *(one.login for one in certd.issuance.values() if one.login)]
    for login in entries:
        if login.identity is not None and login.bootstrap is not None:
            yield Pair("EST identity", login.identity.key_id, login.identity.cert_id)


def _read_certs(appliance: Appliance) -> Finding:
    found, read = [], 0
    certd = parse_certd(appliance.settings("certd"))
    ids = {one.cert_id: one.role for one in all_watched(appliance)}
    ids |= {name: "preloaded" for name in certd.preloaded if name not in ids}
    for cert_id, role in ids.items():
        try:
            appliance.certificate(cert_id)
            read += 1
        except UnreachableError as problem:
            return error(f"certd does not answer: {problem}", "journalctl -u skerry-certd")
        except (ApiError, SkerryError) as problem:
            inside = isinstance(problem, ApiError) and problem.status == _INSIDE
            location = certd.preloaded.get(cert_id)
            if location is None and not inside:
                continue  # issued when it is first needed
            if isinstance(location, tuple) and "cannot be read" not in str(problem):
                continue  # a bundle of certificates that may not be made yet
            found.append(_no_certificate(cert_id, role, problem, location, inside=inside))
    return worst(found, ok(f"{read} certificates"))


def _no_certificate(
    cert_id: str, role: str, problem: Exception, location: object, *, inside: bool
) -> Finding:
    why = "certd cannot read it" if inside else str(problem)
    cause = f"the certificate {cert_id!r} ({role}) cannot be read: {why}"
    if location is None or isinstance(location, tuple):
        remedy = "journalctl -u skerry-certd says why; its files belong to skerry-certs"
        return error(cause, remedy, "it was made on this device")
    remedy = "put a PEM file there that skerry-certs may read; see: journalctl -u skerry-certd"
    return error(cause, remedy, _rights(str(location)))


def _read_keys(appliance: Appliance) -> Finding:
    found, read = [], 0
    keys = appliance.keys()
    for pair in pairs(appliance):
        if pair.cert_id is not None and _chain(appliance, pair.cert_id) is None:
            continue  # the key is made together with its certificate
        try:
            keys.load_key_pair(pair.key_id)
            read += 1
        except UnreachableError as problem:
            return error(f"keyd does not answer: {problem}", "journalctl -u skerry-keyd")
        except ApiError as problem:
            found.append(_no_key(appliance, pair.role, pair.key_id, problem))
    for key_id in _symmetric(appliance):
        try:
            keys.load_key(key_id)
            read += 1
        except UnreachableError as problem:
            return error(f"keyd does not answer: {problem}", "journalctl -u skerry-keyd")
        except ApiError as problem:
            found.append(_no_key(appliance, "device identity", key_id, problem))
    return worst(found, ok(f"{read} keys"))


def _symmetric(appliance: Appliance) -> list[str]:
    provisioning = table(appliance.settings("identityd"), "provisioning")
    manual, dps = table(provisioning, "authentication"), table(provisioning, "attestation")
    names = (manual.get("device_id_pk"), dps.get("symmetric_key"))
    return [str(name) for name in names if name is not None]


def _no_key(appliance: Appliance, role: str, key_id: str, problem: ApiError) -> Finding:
    location = table(appliance.settings("keyd"), "preloaded_keys").get(key_id)
    where = f"its place is {location}" if location else "it was made on this device and is gone"
    if problem.status == _INSIDE:
        return error(
            f"the key {key_id!r} of the {role} cannot be used: keyd cannot read it",
            "journalctl -u skerry-keyd says why; the file has to hold a private key in PEM, "
            "readable for skerry-keys",
            *([where, _rights(str(location))] if location else []),
        )
    return error(
        f"the key {key_id!r} of the {role} cannot be used: {problem}",
        "put the key back, or provision the device again: sudo skerry system reprovision",
        where,
    )


def _rights(location: str) -> str:
    """Return owner and mode of a file, or why they cannot be told; nothing for what is none."""
    path = location.removeprefix("file://")
    if not path.startswith("/"):
        return ""
    try:
        found = Path(path).stat()
    except OSError as problem:
        return f"{path}: {problem.strerror}"
    return f"{path}: mode {found.st_mode & 0o7777:04o}, uid {found.st_uid}, {found.st_size} bytes"


def _match(appliance: Appliance) -> Finding:
    found, compared = [], 0
    for pair in pairs(appliance):
        chain = _chain(appliance, pair.cert_id) if pair.cert_id else None
        if chain is None:
            continue
        try:
            own = remote_key(appliance.keys(), appliance.keys().load_key_pair(pair.key_id))
        except (ApiError, UnreachableError):
            continue  # key-pairs-read says so
        compared += 1
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if own.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
            found.append(
                error(
                    f"the certificate {pair.cert_id!r} of the {pair.role} is for another key than "
                    f"{pair.key_id!r}",
                    "bring certificate and key of one pair, then: sudo skerry config apply",
                )
            )
    return worst(found, ok(f"{compared} pairs"))


_CONFIGS = ("certd-config-well-formed", "identityd-config-well-formed", "keyd-config-well-formed",
            "aziot-edged-config-well-formed")  # fmt: skip
_CERTD = (*_CONFIGS, "certd-running")
_BOTH = (*_CERTD, "keyd-running")

CHECKS = (
    *(
        Check(
            name,
            Section.IDENTITY,
            f"the certificate of the {' and the '.join(roles)} is valid for at least 7 days",
            functools.partial(_expiry, name=name),
            needs=_CERTD,
        )
        for name, roles in _ROLES.items()
    ),
    Check(
        "certs-preloaded",
        Section.IDENTITY,
        "every certificate that is named can be obtained",
        _preloaded,
        needs=_CONFIGS,
    ),
    Check("certs-read", Section.IDENTITY, "certificates can be read", _read_certs, needs=_CERTD),
    Check("key-pairs-read", Section.IDENTITY, "keys can be used", _read_keys, needs=_BOTH),
    Check(
        "certs-match-private-keys",
        Section.IDENTITY,
        "certificates and keys belong together",
        _match,
        needs=_BOTH,
    ),
    Check(
        "certificate-horizon",
        Section.APPLIANCE,
        "every certificate is renewed in time",
        _horizon,
        needs=_CERTD,
    ),
)
