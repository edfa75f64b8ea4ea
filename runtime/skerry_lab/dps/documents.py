"""Enrolments as DPS's service API shows and takes them: JSON to and from `Enrollment`.

An enrolment's etag is a digest of its content, so that nothing has to be kept for it.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from skerry.heads.certificates import CertificateError, read_pem
from skerry.heads.tls import pem
from skerry_lab.dps.errors import BAD_REQUEST, DpsError
from skerry_lab.dps.model import (
    Allocation,
    Attestation,
    Enrollment,
    EnrollmentError,
    Registration,
    Reprovision,
    checked,
    octets,
)
from skerry_lab.registry.model import Authentication, AuthType

E = TypeVar("E", bound=StrEnum)

_POLICIES = {
    (False, False): Reprovision.KEEP,
    (True, True): Reprovision.MIGRATE,
    (True, False): Reprovision.RESET,
}
_FLAGS = {policy: flags for flags, policy in _POLICIES.items()}
_CERTIFICATES = {False: "clientCertificates", True: "signingCertificates"}
_ID = {False: "registrationId", True: "enrollmentGroupId"}


def to_json(enrollment: Enrollment) -> dict[str, object]:
    """Return the document of an enrolment, with its etag."""
    update, migrate = _FLAGS[enrollment.reprovision]
    body: dict[str, object] = {
        _ID[enrollment.group]: enrollment.enrollment_id,
        "attestation": {"type": enrollment.attestation.value, **_attestation(enrollment)},
        "capabilities": {"iotEdge": enrollment.edge},
        "provisioningStatus": "enabled" if enrollment.enabled else "disabled",
        "reprovisionPolicy": {"updateHubAssignment": update, "migrateDeviceData": migrate},
        "allocationPolicy": enrollment.allocation.value,
        "iotHubHostName": enrollment.hub or None,
    }
    if not enrollment.group:
        body["deviceId"] = enrollment.device_id or None
    text = json.dumps([body, enrollment.payload, enrollment.echo], sort_keys=True)
    return {**body, "etag": f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'}


def from_json(
    body: Mapping[str, object], enrollment_id: str, *, group: bool, fresh: Authentication
) -> Enrollment:
    """Read an enrolment; keys it does not name are those of `fresh`. Raises: DpsError 400."""
    if body.get(_ID[group], enrollment_id) != enrollment_id:
        raise DpsError(BAD_REQUEST, f"{_ID[group]} in the body is not the one in the path")
    attestation = _table(body, "attestation")
    kind = _one_of(attestation, "type", Attestation, None)
    keys, tpm = _table(attestation, "symmetricKey"), _table(attestation, "tpm")
    if kind is not Attestation.SYMMETRIC_KEY:
        fresh = Authentication(AuthType.NONE)
    try:
        return checked(
            Enrollment(
                enrollment_id=enrollment_id,
                attestation=kind,
                group=group,
                primary_key=_text(keys, "primaryKey") or fresh.primary_key,
                secondary_key=_text(keys, "secondaryKey") or fresh.secondary_key,
                certificates=_certificates(_table(attestation, "x509"), group=group),
                authorities=_authorities(_table(attestation, "x509")),
                endorsement_key=_text(tpm, "endorsementKey"),
                device_id=_text(body, "deviceId"),
                edge=_table(body, "capabilities").get("iotEdge") is True,
                enabled=_text(body, "provisioningStatus") != "disabled",
                allocation=_one_of(body, "allocationPolicy", Allocation, Allocation.HASHED),
                hub=_hub(body),
                reprovision=_reprovision(_table(body, "reprovisionPolicy")),
            )
        )
    except (EnrollmentError, CertificateError) as error:
        raise DpsError(BAD_REQUEST, str(error)) from error


def registration_json(registration: Registration, hub_name: str) -> dict[str, object]:
    """Return the document of a registration."""
    return {
        "registrationId": registration.registration_id,
        "createdDateTimeUtc": registration.created.isoformat(),
        "lastUpdatedDateTimeUtc": registration.updated.isoformat(),
        "assignedHub": registration.hub or hub_name,
        "deviceId": registration.device_id,
        "status": registration.status.value,
        "substatus": registration.substatus,
        "etag": f'"{registration.etag}"',
    }


def _attestation(enrollment: Enrollment) -> dict[str, object]:
    match enrollment.attestation:
        case Attestation.SYMMETRIC_KEY:
            keys = {
                "primaryKey": enrollment.primary_key,
                "secondaryKey": enrollment.secondary_key,
            }
            return {"symmetricKey": keys}
        case Attestation.TPM:
            return {"tpm": {"endorsementKey": enrollment.endorsement_key}}
        case Attestation.X509:
            named = zip(("primary", "secondary"), enrollment.certificates, strict=False)
            told = {name: {"certificate": text} for name, text in named}
            if enrollment.authorities:
                names = zip(("primary", "secondary"), enrollment.authorities, strict=False)
                return {"x509": {"caReferences": dict(names)}}
            return {"x509": {_CERTIFICATES[enrollment.group]: told}}


def _certificates(table: Mapping[str, object], *, group: bool) -> tuple[str, ...]:
    named = _table(table, _CERTIFICATES[group])
    texts = [_text(_table(named, name), "certificate") for name in ("primary", "secondary")]
    return tuple(_pem(text) for text in texts if text)


def _authorities(table: Mapping[str, object]) -> tuple[str, ...]:
    named = _table(table, "caReferences")
    return tuple(filter(None, (_text(named, name) for name in ("primary", "secondary"))))


def _pem(text: str) -> str:
    """Return a certificate as PEM; SDKs send it so, or the base64 of its DER."""
    if not octets(text):
        return pem(read_pem(text))
    wrapped = base64.encodebytes(octets(text)).decode()
    return pem(read_pem(f"-----BEGIN CERTIFICATE-----\n{wrapped}-----END CERTIFICATE-----\n"))


def _hub(body: Mapping[str, object]) -> str:
    hubs = body.get("iotHubs")
    if isinstance(hubs, list) and len(hubs) == 1 and isinstance(hubs[0], str):
        return hubs[0]
    return _text(body, "iotHubHostName")


def _reprovision(table: Mapping[str, object]) -> Reprovision:
    flags = (
        table.get("updateHubAssignment", True) is True,
        table.get("migrateDeviceData", True) is True,
    )
    found = _POLICIES.get(flags)
    if found is None:
        raise DpsError(BAD_REQUEST, "migrateDeviceData needs updateHubAssignment")
    return found


def _table(body: Mapping[str, object], name: str) -> dict[str, object]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DpsError(BAD_REQUEST, f"{name} is {type(value).__name__}, expected a JSON object")
    return value


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise DpsError(BAD_REQUEST, f"{name} is {value!r}, expected a text")
    return value or ""


def _one_of(body: Mapping[str, object], name: str, kind: type[E], default: E | None) -> E:
    value = body.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or value not in list(kind):
        raise DpsError(BAD_REQUEST, f"{name} is {value!r}, expected {', '.join(kind)}")
    return kind(value)
