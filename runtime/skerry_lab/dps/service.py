"""Assignment: from a proven registration to a device in the registry, and the state it ends in.

An operation's outcome is decided when it is begun and shown once `assign_after_seconds` have
passed, so a device that polls sees `assigning` first, as with DPS.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from skerry_lab.dps.attestation import Attestor, Proof
from skerry_lab.dps.errors import HUB_NOT_LINKED
from skerry_lab.dps.model import (
    Allocation,
    Attestation,
    Enrollment,
    Operation,
    Registration,
    Reprovision,
    State,
)
from skerry_lab.dps.store import DpsStore
from skerry_lab.registry.model import Authentication, AuthType, Device
from skerry_lab.registry.service import ANY, Registry

_KEY_BYTES = 32


@dataclass(frozen=True)
class DpsSettings:
    """How slow and how strict the service is.

    `poll_after_seconds` is the least that a device is told to wait; `registrations_per_minute` 0
    is without limit.
    """

    poll_after_seconds: int = 0
    assign_after_seconds: float = 0.0
    operation_seconds: float = 3600.0
    registrations_per_minute: int = 0


class Provisioning:
    """Assigns devices. To be called on the database's thread."""

    def __init__(
        self,
        store: DpsStore,
        registry: Registry,
        attestor: Attestor,
        settings: DpsSettings,
        random_bytes: Callable[[int], bytes],
        hub_name: str,
    ) -> None:
        self._store = store
        self._registry = registry
        self._attestor = attestor
        self._settings = settings
        self._random_bytes = random_bytes
        self._hub_name = hub_name

    def register(
        self, proof: Proof, registration_id: str, payload: object, now: datetime
    ) -> Operation:
        """Assign the device and return the operation that tells it."""
        outcome = self._outcome(proof, registration_id, payload, now)
        operation = Operation(
            operation_id=f"5.{self._random_bytes(8).hex()}.{self._random_bytes(16).hex()}",
            registration_id=registration_id,
            created=now,
            ready=now + timedelta(seconds=self._settings.assign_after_seconds),
            outcome=outcome,
        )
        self._store.put_operation(operation, self._settings.operation_seconds)
        return operation

    def _outcome(
        self, proof: Proof, registration_id: str, payload: object, now: datetime
    ) -> dict[str, object]:
        enrollment = proof.enrollment
        former = self._store.registration(registration_id)
        created = former.created if former else now
        state: dict[str, object] = {
            _FACT[enrollment.attestation]: (
                {"enrollmentGroupId": enrollment.enrollment_id} if enrollment.group else {}
            ),
            "registrationId": registration_id,
            "createdDateTimeUtc": created.isoformat(),
            "lastUpdatedDateTimeUtc": now.isoformat(),
        }
        if not enrollment.enabled:
            return {**state, "status": State.DISABLED.value}
        if not self._store.hubs():
            return {**state, "status": State.UNASSIGNED.value}
        hub = self._allocate(enrollment, registration_id, former)
        if hub is None:
            return {
                **state,
                "status": State.FAILED.value,
                "errorCode": HUB_NOT_LINKED,
                "errorMessage": f"IoT hub {enrollment.hub!r} is not linked to this service",
            }
        device = self._device(proof, registration_id, former)
        substatus = self._substatus(enrollment, former, hub)
        etag = base64.b64encode(self._random_bytes(9)).decode()
        self._store.put_registration(
            Registration(
                registration_id, enrollment.enrollment_id, device.device_id, hub,
                State.ASSIGNED, substatus, created, now, etag,
            )
        )  # fmt: skip
        if proof.srk:
            key = base64.b64decode(device.authentication.primary_key)
            state["tpm"] = {"authenticationKey": self._attestor.wrapped(enrollment, proof.srk, key)}
        returned = payload if enrollment.echo else enrollment.payload
        return {
            **state,
            "status": State.ASSIGNED.value,
            "substatus": substatus,
            "assignedHub": hub or self._hub_name,
            "deviceId": device.device_id,
            "etag": etag,
            **({} if returned is None else {"payload": returned}),
        }

    def _allocate(
        self, enrollment: Enrollment, registration_id: str, former: Registration | None
    ) -> str | None:
        """Return a linked hub, None when the one wanted is not linked."""
        hubs = self._store.hubs()
        if former and former.hub in hubs and enrollment.reprovision is Reprovision.KEEP:
            return former.hub
        if enrollment.allocation is Allocation.STATIC and enrollment.hub:
            wanted = "" if enrollment.hub == self._hub_name else enrollment.hub
            return wanted if wanted in hubs else None
        if enrollment.allocation is Allocation.HASHED:
            # The highest of all hashes wins: a hub that is added takes only what is now its own.
            return max(
                hubs, key=lambda hub: hashlib.sha256(f"{hub}\n{registration_id}".encode()).digest()
            )
        return hubs[0]

    def _device(self, proof: Proof, registration_id: str, former: Registration | None) -> Device:
        enrollment = proof.enrollment
        device_id = enrollment.device_id or registration_id
        existing = self._registry.store.device(device_id)
        if existing and former and enrollment.reprovision is Reprovision.RESET:
            self._registry.delete_device(device_id)
            existing = None
        auth = proof.authentication
        if enrollment.attestation is Attestation.TPM:
            auth = self._tpm_keys(existing)
        if existing is None:
            return self._registry.put_device(Device(device_id, auth, edge=enrollment.edge))
        wanted = replace(existing, authentication=auth, edge=enrollment.edge)
        return existing if wanted == existing else self._registry.put_device(wanted, ANY)

    def _tpm_keys(self, existing: Device | None) -> Authentication:
        if existing and existing.authentication.type is AuthType.SAS:
            return existing.authentication
        keys = [base64.b64encode(self._random_bytes(_KEY_BYTES)).decode() for _ in range(2)]
        return Authentication(AuthType.SAS, *keys)

    def _substatus(self, enrollment: Enrollment, former: Registration | None, hub: str) -> str:
        if former is None or former.status is not State.ASSIGNED:
            return "initialAssignment"
        if enrollment.reprovision is Reprovision.RESET:
            return "deviceDataReset"
        return "deviceDataMigrated" if former.hub != hub else former.substatus


_FACT = {
    Attestation.SYMMETRIC_KEY: "symmetricKey",
    Attestation.X509: "x509",
    Attestation.TPM: "tpm",
}
