"""Enrolments, registrations and operations of DPS.

An individual enrolment is for one registration id; a group is for all that its key or its
certificates prove.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from skerry.heads.certificates import CertificateError, read_pem
from skerry.wire.tpm import TpmDataError, parse_public
from skerry_lab.errors import LabError

_REGISTRATION_ID = re.compile(r"[A-Za-z0-9\-._:]{0,127}[A-Za-z0-9\-]")
_KEY_BYTES = range(16, 65)


class EnrollmentError(LabError):
    """An enrolment that cannot be, or that is not there."""


class Attestation(StrEnum):
    """How a device proves that it is enrolled."""

    SYMMETRIC_KEY = "symmetricKey"
    X509 = "x509"
    TPM = "tpm"


class Allocation(StrEnum):
    """How the hub is chosen; with one machine no hub is nearer, `geoLatency` takes the first."""

    HASHED = "hashed"
    GEO_LATENCY = "geoLatency"
    STATIC = "static"


class Reprovision(StrEnum):
    """What happens to a device that registers again."""

    KEEP = "keep"
    MIGRATE = "migrate"
    RESET = "reset"


class State(StrEnum):
    """The status of a registration."""

    ASSIGNING = "assigning"
    ASSIGNED = "assigned"
    UNASSIGNED = "unassigned"
    FAILED = "failed"
    DISABLED = "disabled"


@dataclass(frozen=True)
class Enrollment:
    """Who may register, and as what.

    `enrollment_id` is the registration id, for a group its name. Keys and the endorsement key are
    base64 (the latter of a TPM2B_PUBLIC), certificates PEM: of the leaf for an individual
    enrolment, of authorities for a group; `authorities` names such that the hub knows and somebody
    has proven. `payload` goes back to the device; `echo` sends back its
    own. `hub` is for `static`.
    """

    enrollment_id: str
    attestation: Attestation
    group: bool = False
    primary_key: str = field(default="", repr=False)
    secondary_key: str = field(default="", repr=False)
    certificates: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()
    endorsement_key: str = ""
    device_id: str = ""
    edge: bool = True
    enabled: bool = True
    allocation: Allocation = Allocation.HASHED
    hub: str = ""
    reprovision: Reprovision = Reprovision.MIGRATE
    payload: object = None
    echo: bool = False

    @property
    def keys(self) -> tuple[bytes, ...]:
        return tuple(base64.b64decode(k) for k in (self.primary_key, self.secondary_key) if k)


@dataclass(frozen=True)
class Registration:
    """A device that has registered; `hub` is empty for the lab's own."""

    registration_id: str
    enrollment_id: str
    device_id: str
    hub: str
    status: State
    substatus: str
    created: datetime
    updated: datetime
    etag: str


@dataclass(frozen=True)
class Operation:
    """A registration under way; `outcome` is the registration state that it ends with."""

    operation_id: str
    registration_id: str
    created: datetime
    ready: datetime
    outcome: dict[str, object]


def checked(enrollment: Enrollment) -> Enrollment:
    """Return the enrolment if a device could ever use it. Raises: EnrollmentError."""
    what = "group" if enrollment.group else "registration"
    if not is_registration_id(enrollment.enrollment_id):
        raise EnrollmentError(
            f"{what} id {enrollment.enrollment_id!r} is not valid, expected at most 128 of "
            "letters, digits and - . _ : with a letter, digit or - at the end"
        )
    if enrollment.group and enrollment.device_id:
        raise EnrollmentError("a group has no device id: its devices are named by themselves")
    if enrollment.attestation is Attestation.SYMMETRIC_KEY:
        for key in (enrollment.primary_key, enrollment.secondary_key):
            _check_key(key)
    elif enrollment.attestation is Attestation.X509:
        if enrollment.authorities and not enrollment.group:
            raise EnrollmentError("only a group may name authorities, expected a certificate")
        if not enrollment.certificates and not enrollment.authorities:
            raise EnrollmentError("an X.509 enrolment needs a certificate, expected PEM")
        try:
            for text in enrollment.certificates:
                read_pem(text)
        except CertificateError as error:
            raise EnrollmentError(str(error)) from error
    else:
        if enrollment.group:
            raise EnrollmentError("a TPM is enrolled alone, expected no group")
        try:
            parse_public(octets(enrollment.endorsement_key), "the endorsement key")
        except TpmDataError as error:
            raise EnrollmentError(f"{error}; `skerry tpm show` on the device prints it") from error
    return enrollment


def is_registration_id(text: str) -> bool:
    return _REGISTRATION_ID.fullmatch(text) is not None


def octets(text: object) -> bytes:
    """Return the bytes of a base64 text, none when it is none."""
    if not isinstance(text, str):
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _check_key(text: str) -> None:
    if len(octets(text)) not in _KEY_BYTES:
        raise EnrollmentError("a key is not valid, expected 16 to 64 bytes in base64")
