"""identityd's settings: upstream's schema, with the source `standalone` beside the others.

The hub name of a standalone device is its host name, the gateway is the hub or the parent.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from skerry.base.errors import SettingsError
from skerry.certs.renewal import RenewalPolicy, parse_policy
from skerry.identity.model import (
    DEVICE_CERT_ID,
    DEVICE_KEY_ID,
    Auth,
    Principal,
    is_usable_id,
)

_MIN_CLOUD_SECONDS = 70


@dataclass(frozen=True)
class CertificateSource:
    """The device's certificate and its key pair, under one id in certd and keyd.

    `common_name` is that of a certificate which is issued on the device, `policy` says when it is
    renewed; both None for one that came with the configuration.
    """

    pair_id: str
    common_name: str | None
    policy: RenewalPolicy | None


@dataclass(frozen=True)
class Proof:
    """How the device shows who it is: `key_id` with SAS, `certificate` with X.509."""

    auth: Auth
    key_id: str | None = None
    certificate: CertificateSource | None = None


@dataclass(frozen=True)
class Standalone:
    """No hub: everything is made on the device."""

    hub_name: str
    device_id: str
    proof: Proof


@dataclass(frozen=True)
class Manual:
    """Hub and device are named by the configuration."""

    hub_name: str
    device_id: str
    proof: Proof


@dataclass(frozen=True)
class Dps:
    """DPS names the hub; `registration_id` None is the certificate's common name."""

    endpoint: str
    scope_id: str
    registration_id: str | None
    proof: Proof
    payload_path: str | None = None


Source = Standalone | Manual | Dps | None
"""None: this device has no identity at any hub."""


@dataclass(frozen=True)
class Settings:
    """All of identityd's settings; `cloud_seconds` bounds one request to DPS or hub."""

    source: Source
    parent_hostname: str | None = None
    principals: tuple[Principal, ...] = ()
    max_requests: int = 10
    prefer_module_cache: bool = False
    cloud_seconds: float = _MIN_CLOUD_SECONDS
    cloud_retries: int = 1
    trusted_certs: tuple[str, ...] = ()

    def principal(self, uid: int) -> Principal | None:
        """Return the principal of a uid."""
        return next((entry for entry in self.principals if entry.uid == uid), None)

    @property
    def module_names(self) -> frozenset[str]:
        """The processes of the host that are modules."""
        return frozenset(
            entry.name for entry in self.principals if "module" in (entry.id_types or ())
        )

    def fingerprint(self) -> str:
        """Return what tells one way to an identity from another; nothing secret goes into it."""
        facts = (type(self.source).__name__, self.source and asdict(self.source))
        return hashlib.sha256(repr((facts, self.parent_hostname)).encode()).hexdigest()


def parse_settings(settings: Mapping[str, object]) -> Settings:
    """Turn the merged settings table into Settings; raises SettingsError."""
    hostname = _text(settings, "hostname", "the name of this device")
    provisioning = settings.get("provisioning")
    if not isinstance(provisioning, dict):
        raise SettingsError('[provisioning] is missing; expected source = "standalone" or another')
    parent = _optional(provisioning, "local_gateway_hostname")
    principals = settings.get("principal", [])
    if not isinstance(principals, list):
        raise SettingsError(f"principal is {principals!r}, expected an array of tables")
    trusted = settings.get("trusted_certs", [])
    if not (isinstance(trusted, list) and all(isinstance(name, str) for name in trusted)):
        raise SettingsError(f"trusted_certs is {trusted!r}, expected an array of certificate ids")
    prefer = settings.get("prefer_module_identity_cache", False)
    if not isinstance(prefer, bool):
        raise SettingsError(f"prefer_module_identity_cache is {prefer!r}, expected true or false")
    return Settings(
        source=_source(provisioning, hostname),
        parent_hostname=parent,
        principals=tuple(_principal(entry) for entry in principals),
        max_requests=_number(settings, "max_requests", 10, 1),
        prefer_module_cache=prefer,
        cloud_seconds=_number(
            settings, "cloud_timeout_sec", _MIN_CLOUD_SECONDS, _MIN_CLOUD_SECONDS
        ),
        cloud_retries=_number(settings, "cloud_retries", 1, 0),
        trusted_certs=tuple(trusted),
    )


def _source(table: Mapping[str, Any], hostname: str) -> Source:
    source = table.get("source")
    if source == "standalone":
        hub = _text({"iothub_hostname": hostname, **table}, "iothub_hostname", "a host name")
        device_id = _id({"device_id": hostname, **table}, "device_id")
        proof = Proof(Auth.X509, certificate=_certificate(table, "authentication", device_id))
        return Standalone(hub, device_id, proof)
    if source == "manual":
        device_id = _id(table, "device_id")
        hub = _text(table, "iothub_hostname", "the host name of the hub")
        return Manual(hub, device_id, _proof(table, "authentication", "device_id_pk", device_id))
    if source == "dps":
        return _dps(table)
    if source == "none":
        return None
    raise SettingsError(
        f"provisioning.source is {source!r}, expected 'standalone', 'manual', 'dps' or 'none'"
    )


def _dps(table: Mapping[str, Any]) -> Dps:
    endpoint = _text(table, "global_endpoint", "an https address")
    if not endpoint.startswith("https://"):
        raise SettingsError(f"provisioning.global_endpoint is {endpoint!r}, expected https://…")
    attestation = table.get("attestation")
    registration = None
    if isinstance(attestation, dict) and "registration_id" in attestation:
        registration = _id(attestation, "registration_id")
    proof = _proof(table, "attestation", "symmetric_key", registration)
    if registration is None and proof.auth is not Auth.X509:
        raise SettingsError("provisioning.attestation.registration_id is missing")
    return Dps(
        endpoint=endpoint,
        scope_id=_text(table, "scope_id", "the id scope of the DPS"),
        registration_id=registration,
        proof=proof,
        payload_path=_payload(table.get("payload")),
    )


def _proof(table: Mapping[str, Any], name: str, key: str, common_name: str | None) -> Proof:
    given = table.get(name)
    method = given.get("method") if isinstance(given, dict) else None
    if method in ("sas", "symmetric_key"):
        return Proof(Auth.SAS, key_id=_text(given or {}, key, "the id of a key in keyd"))
    if method == "x509":
        return Proof(Auth.X509, certificate=_certificate(table, name, common_name))
    if method == "tpm" and name == "attestation":
        return Proof(Auth.TPM)
    raise SettingsError(f"provisioning.{name}.method is {method!r}, which is not known")


def _certificate(table: Mapping[str, Any], name: str, common_name: str | None) -> CertificateSource:
    given = table.get(name)
    if not isinstance(given, dict):
        return CertificateSource(DEVICE_CERT_ID, common_name, RenewalPolicy())
    cert_id = given.get("identity_cert", DEVICE_CERT_ID)
    if not isinstance(cert_id, str) or given.get("identity_pk", DEVICE_KEY_ID) != cert_id:
        raise SettingsError(
            f"provisioning.{name}.identity_cert and identity_pk are {cert_id!r} and "
            f"{given.get('identity_pk')!r}, expected the same id"
        )
    renew = given.get("identity_auto_renew")
    policy = None
    if renew is not None:
        policy = parse_policy(renew, f"provisioning.{name}.identity_auto_renew")
    return CertificateSource(cert_id, common_name, policy)


def _payload(table: object) -> str | None:
    if table is None:
        return None
    uri = table.get("uri") if isinstance(table, dict) else None
    parts = urlsplit(uri) if isinstance(uri, str) else None
    if parts is None or parts.scheme != "file" or not parts.path:
        raise SettingsError(f"provisioning.payload is {table!r}, expected uri = 'file:///…'")
    return unquote(parts.path)


def _id(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not is_usable_id(value):
        raise SettingsError(f"provisioning.{key} is {value!r}, expected an id of IoT Hub")
    return value


def _text(table: Mapping[str, Any], key: str, expected: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{key} is {value!r}, expected {expected}")
    return value


def _optional(table: Mapping[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise SettingsError(f"provisioning.{key} is {value!r}, expected a name")
    return value


def _number(table: Mapping[str, object], key: str, default: int, least: int) -> int:
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SettingsError(f"{key} is {value!r}, expected an integer of at least {least}")
    return value


def _principal(entry: object) -> Principal:
    match entry:
        case {"uid": int(uid), "name": str(name), **rest}:
            id_types = rest.get("idtype")
            if id_types is None:
                return Principal(uid, name, None)
            if isinstance(id_types, list) and set(id_types) <= {"device", "module", "local"}:
                return Principal(uid, name, tuple(id_types))
    raise SettingsError(
        f'principal {entry!r} is not {{ uid = NUMBER, name = STRING, idtype = ["device", '
        '"module", "local"] }'
    )
