"""DPS's errors: `{"errorCode", "trackingId", "message", "timestampUtc"}`; 401002 is a 401."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from skerry.heads.routes import Answer
from skerry_lab.errors import ApiError

BAD_REQUEST = 400000
BAD_VERSION = 400004
HUB_NOT_LINKED = 400208
UNAUTHORIZED = 401002
NO_ENROLLMENT = 404201
NO_OPERATION = 404202
NO_SCOPE = 404203
ENROLLMENT_EXISTS = 409201
CHANGED_MEANWHILE = 412201
THROTTLED = 429001


class DpsError(ApiError):
    """A refused request; the status is the first three digits of the code.

    `facts` are further fields of the body, `authenticationKey` of a TPM's challenge for one.
    """

    def __init__(
        self,
        code: int,
        message: str,
        headers: Mapping[str, str] | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(code // 1000, code, message, headers)
        self.facts = dict(facts or {})

    def answer(self, tracking_id: str, now: datetime) -> Answer:
        body = {
            "errorCode": self.code,
            "trackingId": tracking_id,
            "message": str(self),
            "timestampUtc": now.isoformat(),
            **self.facts,
        }
        return Answer.json(body, self.status, self.headers)


def unauthorized(message: str) -> DpsError:
    """Return the error for a device that could not show who it is."""
    return DpsError(UNAUTHORIZED, message)


def check_version(version: str | None, known: Sequence[str]) -> None:
    """Check the api-version of a request. Raises: DpsError."""
    if version not in known:
        raise DpsError(
            BAD_VERSION, f"api-version {version!r} is not known, expected one of {', '.join(known)}"
        )
