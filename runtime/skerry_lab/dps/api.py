"""The device side of DPS over HTTPS: register, poll. Source: azure-iot-edge.md §8.1."""

import json
import math
from collections import deque

from skerry.base.clock import Clock
from skerry.heads.routes import Answer, Request, Route
from skerry_lab.dps.attestation import Attestor
from skerry_lab.dps.errors import (
    BAD_REQUEST,
    NO_OPERATION,
    NO_SCOPE,
    THROTTLED,
    DpsError,
    check_version,
)
from skerry_lab.dps.model import Operation, State, is_registration_id
from skerry_lab.dps.service import DpsSettings, Provisioning
from skerry_lab.dps.store import DpsStore

API_VERSIONS = (
    "2017-11-15",
    "2018-04-01",
    "2018-11-01",
    "2019-03-31",
    "2021-06-01",
    "2021-10-01",
)
_MINUTE = 60.0


class DpsApi:
    """Handlers; each runs in one transaction. The quota's window is in memory only."""

    def __init__(
        self,
        id_scope: str,
        store: DpsStore,
        attestor: Attestor,
        provisioning: Provisioning,
        settings: DpsSettings,
        clock: Clock,
    ) -> None:
        self._id_scope = id_scope
        self._store = store
        self._attestor = attestor
        self._provisioning = provisioning
        self._settings = settings
        self._clock = clock
        self._recent: deque[float] = deque()

    def routes(self) -> list[Route]:
        base = "/{scope}/registrations/{registration_id}"
        return [
            Route("PUT", f"{base}/register", self.register),
            Route("GET", f"{base}/operations/{{operation_id}}", self.poll),
        ]

    def register(self, request: Request, scope: str, registration_id: str) -> Answer:
        self._check(request, scope, registration_id)
        self._check_quota()
        body = _body(request)
        if body.get("registrationId", registration_id) != registration_id:
            raise DpsError(BAD_REQUEST, "registrationId in the body is not the one in the path")
        now = self._clock.now()
        tpm = body.get("tpm")
        if isinstance(tpm, dict) and "authorization" not in request.headers:
            challenge = self._attestor.challenge(registration_id, tpm, now)
            # Answered and not raised: the nonce has to be kept.
            return challenge.answer("", now)
        proof = self._attestor.prove(request, scope, registration_id, now)
        operation = self._provisioning.register(proof, registration_id, body.get("payload"), now)
        return Answer.json(
            {"operationId": operation.operation_id, "status": State.ASSIGNING.value},
            202,
            self._retry_after(operation),
        )

    def admit(self, request: Request, scope: str, registration_id: str) -> None:
        """Check that a device may speak at all. Raises: DpsError."""
        self._check(request, scope, registration_id)
        self._attestor.prove(request, scope, registration_id, self._clock.now())

    def poll(self, request: Request, scope: str, registration_id: str, operation_id: str) -> Answer:
        self._check(request, scope, registration_id)
        now = self._clock.now()
        self._attestor.prove(request, scope, registration_id, now)
        operation = self._store.operation(operation_id)
        if operation is None or not self._is_current(operation, registration_id):
            raise DpsError(NO_OPERATION, "operation not found; register again")
        if now < operation.ready:
            state: dict[str, object] = {
                "registrationId": registration_id,
                "createdDateTimeUtc": operation.created.isoformat(),
                "lastUpdatedDateTimeUtc": operation.created.isoformat(),
                "status": State.ASSIGNING.value,
            }
            return Answer.json(_told(operation, state), 202, self._retry_after(operation))
        return Answer.json(_told(operation, operation.outcome))

    def _check(self, request: Request, scope: str, registration_id: str) -> None:
        check_version(request.query.get("api-version"), API_VERSIONS)
        if scope.lower() != self._id_scope.lower():
            raise DpsError(NO_SCOPE, f"id scope {scope!r} not found")
        if not is_registration_id(registration_id):
            raise DpsError(
                BAD_REQUEST,
                f"registration id {registration_id[:140]!r} is not valid, expected at most 128 of "
                "letters, digits and - . _ : with a letter, digit or - at the end",
            )

    def _check_quota(self) -> None:
        limit = self._settings.registrations_per_minute
        now = self._clock.monotonic()
        while self._recent and self._recent[0] <= now - _MINUTE:
            self._recent.popleft()
        if limit and len(self._recent) >= limit:
            seconds = int(self._recent[0] + _MINUTE - now) + 1
            raise DpsError(
                THROTTLED,
                f"more than {limit} registrations in a minute; try again in {seconds} s",
                {"retry-after": str(seconds)},
            )
        if limit:
            self._recent.append(now)

    def _is_current(self, operation: Operation, registration_id: str) -> bool:
        age = (self._clock.now() - operation.created).total_seconds()
        same = operation.registration_id.lower() == registration_id.lower()
        return same and age <= self._settings.operation_seconds

    def _retry_after(self, operation: Operation) -> dict[str, str]:
        left = math.ceil((operation.ready - self._clock.now()).total_seconds())
        return {"retry-after": str(max(self._settings.poll_after_seconds, left))}


def _told(operation: Operation, state: dict[str, object]) -> dict[str, object]:
    return {
        "operationId": operation.operation_id,
        "status": state["status"],
        "registrationState": state,
    }


def _body(request: Request) -> dict[str, object]:
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise DpsError(BAD_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise DpsError(BAD_REQUEST, f"the body is {type(body).__name__}, expected a JSON object")
    return body
