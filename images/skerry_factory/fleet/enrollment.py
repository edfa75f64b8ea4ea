"""Enrolment files: what DPS, or the lab cloud, has to know before the devices come.

    <out>/enrollments-dps.json    {"enrollments": […], "enrollmentGroups": […], "pending": […]}, the
                                  bodies of DPS's service API (2021-10-01)
    <out>/enrollments-lab.json    for `skerry-lab import`: {"version", "enrollments", "pending"}

Both 0600: symmetric keys are in them. `pending` is {"registrationId", "deviceId", "reason"} of the
devices that cannot be enrolled yet.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from skerry.base.files import remove, write_atomic
from skerry_factory.fleet.material import Material
from skerry_factory.fleet.model import Fleet, FleetDevice, IdentityPlan, Method

DPS_FILE = "enrollments-dps.json"
LAB_FILE = "enrollments-lab.json"
LAB_VERSION = 1
NO_ENDORSEMENT_KEY = "no endorsement key; gather it with `skerry-factory collect`"

Body = dict[str, object]


def write_enrollments(fleet: Fleet, material: Mapping[str, Material], out: Path) -> tuple[str, ...]:
    """Write both files, or remove them for a fleet without a cloud; returns who is pending."""
    if fleet.identity.method is Method.STANDALONE:
        remove(out / DPS_FILE)
        remove(out / LAB_FILE)
        return ()
    groups = [_group(fleet.identity)] if fleet.identity.group else []
    pending = [device for device in fleet.devices if _is_pending(fleet, device)]
    single = [
        _individual(fleet, device, material[device.id])
        for device in fleet.devices
        if not groups and not _is_pending(fleet, device)
    ]
    told = [
        {"registrationId": d.registration_id, "deviceId": d.id, "reason": NO_ENDORSEMENT_KEY}
        for d in pending
    ]
    dps = {"enrollments": single, "enrollmentGroups": groups, "pending": told}
    for_lab = [{**body, "group": False} for body in single]
    for_lab += [{**body, "group": True} for body in groups]
    lab = {"version": LAB_VERSION, "enrollments": for_lab, "pending": told}
    for file, document in ((DPS_FILE, dps), (LAB_FILE, lab)):
        write_atomic(out / file, (json.dumps(document, indent=1) + "\n").encode(), mode=0o600)
    return tuple(device.id for device in pending)


def _is_pending(fleet: Fleet, device: FleetDevice) -> bool:
    return fleet.identity.method is Method.TPM and not device.endorsement_key


def _individual(fleet: Fleet, device: FleetDevice, material: Material) -> Body:
    body = {
        "registrationId": device.registration_id,
        "deviceId": device.id,
        "attestation": _attestation(fleet, device, material),
        **_COMMON,
    }
    if device.labels:
        body["initialTwin"] = {
            "tags": dict(sorted(device.labels.items())),
            "properties": {"desired": {}},
        }
    return body


def _attestation(fleet: Fleet, device: FleetDevice, material: Material) -> Body:
    match fleet.identity.method:
        case Method.TPM:
            return {"type": "tpm", "tpm": {"endorsementKey": device.endorsement_key}}
        case Method.X509:
            leaf = material.chain[: material.chain.index(_END) + len(_END)]
            told = {"primary": {"certificate": leaf}}
            return {"type": "x509", "x509": {"clientCertificates": told}}
        case _:
            return _symmetric(material.key)


def _group(plan: IdentityPlan) -> Body:
    attestation: Body = {}
    if plan.group_key is not None:
        attestation = _symmetric(plan.group_key.read_text("ascii").strip())
    if plan.ca_certificate is not None:
        told = {"primary": {"certificate": plan.ca_certificate.read_text("ascii")}}
        attestation = {"type": "x509", "x509": {"signingCertificates": told}}
    return {"enrollmentGroupId": plan.group, "attestation": attestation, **_COMMON}


def _symmetric(key: str) -> Body:
    # DPS wants two; the second one may be the same until the operator renews one
    return {"type": "symmetricKey", "symmetricKey": {"primaryKey": key, "secondaryKey": key}}


_END = "-----END CERTIFICATE-----\n"
_COMMON: Body = {"capabilities": {"iotEdge": True}, "provisioningStatus": "enabled"}
