"""Whether a device is the one that is enrolled: by key, by certificate, by TPM.

Each way ends with a `Proof`: the enrolment, and what the hub will know the device by.
"""

import base64
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509

from skerry.heads import tokens
from skerry.heads.certificates import (
    CertificateError,
    check_time,
    find_anchor,
    read_chain,
    read_pem,
    thumbprints,
)
from skerry.heads.routes import Request
from skerry.heads.tls import leaf_name
from skerry.wire import sas
from skerry.wire.tpm import TpmDataError
from skerry_lab.dps.errors import NO_ENROLLMENT, UNAUTHORIZED, DpsError, unauthorized
from skerry_lab.dps.model import Attestation, Enrollment, octets
from skerry_lab.dps.store import DpsStore
from skerry_lab.registry.model import Authentication, AuthType

_NONCE_SECONDS = 600
_NONCE_BYTES = 32


class Wrap(Protocol):
    """Encrypts a key so that only the TPM with these two keys can import it."""

    def __call__(self, ek_public: bytes, srk_public: bytes, auth_key: bytes) -> bytes: ...


@dataclass(frozen=True)
class Proof:
    """A proven enrolment; `srk` is set for a TPM, whose hub key is still to be made."""

    enrollment: Enrollment
    authentication: Authentication = field(repr=False)
    srk: bytes = b""


class Attestor:
    """Finds and checks the enrolment of a request."""

    def __init__(
        self,
        store: DpsStore,
        wrap: Wrap,
        random_bytes: Callable[[int], bytes],
        authority: Callable[[str], str | None],
    ) -> None:
        """Take `authority`, which returns what has been proven under a name, PEM."""
        self._store = store
        self._authority = authority
        self._wrap = wrap
        self._random_bytes = random_bytes

    def prove(self, request: Request, scope: str, registration_id: str, now: datetime) -> Proof:
        """Return the proof. Raises: DpsError 401, 404."""
        if "authorization" in request.headers:
            return self._by_token(request, f"{scope}/registrations/{registration_id}", now)
        if request.certificates:
            return self._by_certificate(request, registration_id, now)
        raise unauthorized("no Authorization header and no client certificate")

    def challenge(self, registration_id: str, tpm: dict[str, object], now: datetime) -> DpsError:
        """Return the answer that challenges a TPM: a key that only it can import.

        Raises: DpsError 401, 404.
        """
        enrollment = self._store.enrollment(registration_id, group=False)
        if enrollment is None or enrollment.attestation is not Attestation.TPM:
            raise DpsError(NO_ENROLLMENT, "no enrollment found for this TPM")
        endorsement, srk = octets(tpm.get("endorsementKey")), octets(tpm.get("storageRootKey"))
        if endorsement != octets(enrollment.endorsement_key):
            raise unauthorized("the endorsement key is not the one enrolled")
        key = self._random_bytes(_NONCE_BYTES)
        blob = self.wrapped(enrollment, srk, key)
        self._store.add_nonce(registration_id, key, srk, now)
        return DpsError(
            UNAUTHORIZED,
            "sign with the key given",
            facts={"authenticationKey": blob, "keyName": "registration"},
        )

    def wrapped(self, enrollment: Enrollment, srk: bytes, key: bytes) -> str:
        """Return a key for the TPM of an enrolment, base64. Raises: DpsError 401."""
        try:
            blob = self._wrap(octets(enrollment.endorsement_key), srk, key)
        except TpmDataError as error:
            raise unauthorized(f"the TPM's keys cannot be used: {error}") from error
        return base64.b64encode(blob).decode()

    def _by_token(self, request: Request, audience: str, now: datetime) -> Proof:
        try:
            token = sas.parse(request.headers["authorization"])
        except sas.SasError as error:
            raise unauthorized(str(error)) from error
        if audience.lower() not in tokens.audiences(token):
            raise unauthorized(f"the token is not for {audience!r}")
        if token.key_name not in (None, "registration"):
            raise unauthorized(f"the token's skn is {token.key_name!r}, expected 'registration'")
        registration_id = audience.rpartition("/")[2]
        enrollment = self._store.enrollment(registration_id, group=False)
        if enrollment is None:
            return self._by_group_key(token, registration_id, now)
        if enrollment.attestation is Attestation.SYMMETRIC_KEY:
            _verify(token, enrollment.keys, now)
            auth = Authentication(AuthType.SAS, enrollment.primary_key, enrollment.secondary_key)
            return Proof(enrollment, auth)
        if enrollment.attestation is Attestation.TPM:
            return self._by_nonce(token, enrollment, registration_id, now)
        raise unauthorized("the enrollment is for a certificate, not for a key")

    def _by_nonce(
        self, token: sas.SasToken, enrollment: Enrollment, registration_id: str, now: datetime
    ) -> Proof:
        since = now - timedelta(seconds=_NONCE_SECONDS)
        for key, srk in self._store.nonces(registration_id, since):
            with contextlib.suppress(sas.SasError):
                tokens.verify(token, [key], now)
                return Proof(enrollment, Authentication(AuthType.SAS), srk)
        raise unauthorized("the token is not signed with the key of a recent challenge")

    def _by_group_key(self, token: sas.SasToken, registration_id: str, now: datetime) -> Proof:
        groups = self._store.groups(Attestation.SYMMETRIC_KEY)
        if not groups:
            raise DpsError(NO_ENROLLMENT, "no enrollment found for this registration id")
        problem = sas.SasError("")
        for group in groups:
            keys = tuple(sas.device_key(key, registration_id) for key in group.keys)
            try:
                tokens.verify(token, keys, now)
            except sas.SasError as error:
                problem = error
                continue
            texts = [base64.b64encode(key).decode() for key in keys]
            return Proof(group, Authentication(AuthType.SAS, *texts))
        raise unauthorized(str(problem)) from problem

    def _by_certificate(self, request: Request, registration_id: str, now: datetime) -> Proof:
        try:
            chain = read_chain(request.certificates)
            check_time(chain[0], now)
        except CertificateError as error:
            raise unauthorized(str(error)) from error
        enrollment = self._store.enrollment(registration_id, group=False)
        if enrollment is not None:
            _check_leaf(enrollment, chain[0])
        else:
            enrollment = self._x509_group(chain, registration_id, now)
        sha256, _ = thumbprints(chain[0])
        auth = Authentication(AuthType.SELF_SIGNED, primary_thumbprint=sha256)
        return Proof(enrollment, auth)

    def _x509_group(
        self, chain: list[x509.Certificate], registration_id: str, now: datetime
    ) -> Enrollment:
        if leaf_name(chain[0]).lower() != registration_id.lower():
            raise unauthorized("the certificate's common name is not the registration id")
        for group in self._store.groups(Attestation.X509):
            named = filter(None, map(self._authority, group.authorities))
            anchors = [read_pem(text) for text in (*group.certificates, *named)]
            if find_anchor(chain, anchors, now) is not None:
                return group
        raise unauthorized("CA certificate not found")


def _check_leaf(enrollment: Enrollment, leaf: x509.Certificate) -> None:
    if enrollment.attestation is not Attestation.X509:
        raise unauthorized("the enrollment is not for a certificate")
    if leaf not in [read_pem(text) for text in enrollment.certificates]:
        raise unauthorized("the certificate is not the one enrolled")


def _verify(token: sas.SasToken, keys: tuple[bytes, ...], now: datetime) -> None:
    try:
        tokens.verify(token, keys, now)
    except sas.SasError as error:
        raise unauthorized(str(error)) from error
