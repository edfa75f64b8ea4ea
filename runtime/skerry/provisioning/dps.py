"""Device Provisioning Service, as its client over HTTPS (azure-iot-edge.md §8.1).

    PUT  <endpoint>/<scope>/registrations/<id>/register     -> an operation
    GET  …/operations/<operation>                           -> until it is assigned, or refused

A TPM is asked a riddle first: the answer to a request without authorization is a key that only
this TPM can unwrap, and the request is repeated with a token signed by it. The TPM keeps the key
of the present hub until the device is assigned anew.

An operation that takes longer than the caller wants to wait is gone on with by the next call.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote

from skerry.base.clock import Clock
from skerry.provisioning.cloud import Answer, Cloud, Pause
from skerry.provisioning.credential import Credential, SasCredential
from skerry.provisioning.errors import AnswerError, LaterError, MissingError, RefusedError

API_VERSION = "2021-06-01"
KEY_NAME = "registration"
_POLL_SECONDS = 2.0
_WAITING = ("assigning", "")
_STATUS_OF_REFUSAL = 403


class TpmKeys(Protocol):
    """The TPM, as tpmd gives it."""

    def tpm_keys(self) -> tuple[bytes, bytes]:
        """Return endorsement key and storage root key, each a marshalled TPM2B_PUBLIC."""

    def import_auth_key(self, blob: bytes) -> None:
        """Unwrap a key that was made for this TPM and keep it there."""

    def sign_with_auth_key(self, data: bytes) -> bytes:
        """Return HMAC-SHA256 under the key imported last."""

    def sign_with_key(self, blob: bytes, data: bytes) -> bytes:
        """Return HMAC-SHA256 under a key that was made for this TPM, and is not kept."""


@dataclass(frozen=True)
class Registration:
    """Who registers where; `payload` is any JSON value, None for none."""

    endpoint: str
    scope_id: str
    registration_id: str
    payload: object = None

    @property
    def audience(self) -> str:
        """What a token is signed for."""
        return f"{self.scope_id}/registrations/{self.registration_id}"

    def url(self, rest: str) -> str:
        """Return the address of a request."""
        scope, own = quote(self.scope_id, safe=""), quote(self.registration_id, safe="")
        base = f"{self.endpoint.rstrip('/')}/{scope}/registrations/{own}"
        return f"{base}/{rest}?api-version={API_VERSION}"


@dataclass(frozen=True)
class Assignment:
    """The hub and the name that DPS gave the device; `payload` is what the service returned."""

    hub_name: str
    device_id: str
    payload: object = None


class Dps:
    """Registers one device."""

    def __init__(
        self, cloud: Cloud, registration: Registration, clock: Clock, pause: Pause
    ) -> None:
        self._cloud = cloud
        self._registration = registration
        self._clock = clock
        self._pause = pause
        self._operation: str | None = None
        self._riddle: bytes | None = None

    def register(self, credential: Credential, limit_seconds: float) -> Assignment:
        """Register by token or certificate; raises ProvisioningError.

        LaterError after `limit_seconds`: the service is still at it, and the next call goes on.
        """
        state = self._registered(credential, self._body(), limit_seconds)
        return _assignment(state)

    def register_tpm(self, tpm: TpmKeys, limit_seconds: float) -> Assignment:
        """Register by TPM; the hub's key is in the TPM afterwards. Raises as `register` and tpm."""
        body = self._body()
        if self._operation is None or self._riddle is None:
            self._operation = None
            endorsement, storage = tpm.tpm_keys()
            body["tpm"] = {"endorsementKey": _b64(endorsement), "storageRootKey": _b64(storage)}
            self._riddle = self._challenge(body)
        registration_key = self._riddle
        credential = SasCredential(
            self._registration.audience,
            lambda data: tpm.sign_with_key(registration_key, data),
            KEY_NAME,
        )
        state = self._registered(credential, body, limit_seconds)
        assignment = _assignment(state)
        key = state.get("tpm")
        if isinstance(key, dict) and key.get("authenticationKey"):
            registration_key = _key(key)
        # not before: until the device is assigned the TPM's key is that of its present hub
        tpm.import_auth_key(registration_key)
        return assignment

    def _challenge(self, body: Mapping[str, object]) -> bytes:
        url = self._registration.url("register")
        answer = self._cloud.ask("PUT", url, None, body, accept=(HTTPStatus.UNAUTHORIZED,))
        if answer.status != HTTPStatus.UNAUTHORIZED or not isinstance(answer.value, dict):
            raise AnswerError(f"DPS answered {answer.status} where a TPM is challenged by 401")
        if "authenticationKey" not in answer.value:
            raise RefusedError(
                f"DPS does not know this TPM: {_words(answer.value)}; compare the endorsement key "
                "of the enrolment with `skerry tpm show`",
                answer.status,
            )
        return _key(answer.value)

    def _registered(
        self, credential: Credential, body: Mapping[str, object], limit_seconds: float
    ) -> Mapping[str, Any]:
        end = self._clock.monotonic() + limit_seconds
        if self._operation is None:
            answer = self._cloud.ask("PUT", self._registration.url("register"), credential, body)
            self._operation = str(_table(answer.value).get("operationId") or "") or None
        else:
            answer = self._poll(credential)
        while _status(_table(answer.value)) in _WAITING:
            if self._operation is None:
                raise AnswerError("DPS answered without an operationId")
            wait = _POLL_SECONDS if answer.retry_after is None else answer.retry_after
            if self._clock.monotonic() + wait > end:
                raise LaterError("DPS is still assigning this device to a hub", wait)
            self._pause(wait)
            answer = self._poll(credential)
        self._operation = None
        return _state(_table(answer.value))

    def _poll(self, credential: Credential) -> Answer:
        rest = f"operations/{quote(self._operation or '', safe='')}"
        try:
            return self._cloud.ask("GET", self._registration.url(rest), credential)
        except (MissingError, RefusedError):
            self._operation = None
            raise

    def _body(self) -> dict[str, object]:
        body: dict[str, object] = {"registrationId": self._registration.registration_id}
        if self._registration.payload is not None:
            body["payload"] = self._registration.payload
        return body


_REFUSALS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "disabled": lambda _: "the enrolment of this device is disabled; enable it at DPS",
    "unassigned": lambda _: "DPS has assigned this device to no hub; look at its enrolment",
    "failed": lambda state: f"DPS could not assign this device: {_words(state)}",
}


def read_assignment(value: object) -> Assignment:
    """Read what DPS answers in the end; raises RefusedError and AnswerError."""
    return _assignment(_state(_table(value)))


def _status(answer: Mapping[str, Any]) -> str:
    return str(answer.get("status") or "").lower()


def _state(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    status, state = _status(answer), answer.get("registrationState") or {}
    if not isinstance(state, dict):
        raise AnswerError("DPS answered with a registrationState that is no object")
    if status == "assigned":
        return state
    refusal = _REFUSALS.get(status)
    if refusal is None:
        raise AnswerError(f"DPS answered with the status {status[:40]!r}, which is not known")
    raise RefusedError(refusal({**answer, **state}), _STATUS_OF_REFUSAL)


def _assignment(state: Mapping[str, Any]) -> Assignment:
    hub, device = state.get("assignedHub"), state.get("deviceId")
    if not (isinstance(hub, str) and hub and isinstance(device, str) and device):
        raise AnswerError("DPS assigned this device without naming hub and device")
    return Assignment(hub, device, state.get("payload"))


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise AnswerError("DPS answered without a JSON object")
    return value


def _words(state: Mapping[str, Any]) -> str:
    code = state.get("errorCode", state.get("code"))
    words = state.get("errorMessage") or state.get("message") or "no reason given"
    return f"{words}"[:300] if code is None else f"{words} ({code})"[:300]


def _key(table: Mapping[str, Any]) -> bytes:
    try:
        return base64.b64decode(str(table["authenticationKey"]), validate=True)
    except (KeyError, ValueError, binascii.Error):
        raise AnswerError("DPS answered with an authenticationKey that is not base64") from None


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
