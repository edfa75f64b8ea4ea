"""Single JSON requests to DPS and IoT Hub, with what a device in the field needs around them.

Invariants
- A request is repeated only when no answer came or the server is in trouble; a refusal is final.
- `Retry-After` is obeyed: the caller gets LaterError and does not ask before.
- The server's Date header corrects the device's clock for tokens. A clock that is wrong by more
  than a minute is named in the log once, and an unauthorized token is made again with the right
  time.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from skerry.base.clock import Clock
from skerry.base.https import HttpsAnswer, HttpsClient, HttpsError, Proxy, trust_context
from skerry.base.log import Logger
from skerry.provisioning.credential import Credential
from skerry.provisioning.errors import (
    AnswerError,
    ConflictError,
    LaterError,
    MissingError,
    OfflineError,
    RefusedError,
)

_TOLERATED_SECONDS = 60.0
_PAUSE_SECONDS = 3.0
_DEFAULT_WAIT_SECONDS = 60.0
_MAX_WAIT_SECONDS = 3600.0
_MAX_SHOWN = 300

Pause = Callable[[float], None]
"""Waits so many seconds; may raise to end what is under way."""


@dataclass(frozen=True)
class Answer:
    """A JSON answer (`value` is None for an empty one); `retry_after` in seconds."""

    status: int
    value: object
    retry_after: float | None


@dataclass(frozen=True)
class Reach:
    """How servers are reached: time for one request, tries after the first, proxy, more roots."""

    timeout_seconds: float = 70.0
    retries: int = 1
    proxy: Proxy | None = None
    roots: Callable[[], Sequence[str]] = tuple


class Cloud:
    """Asks servers; one for a process, since it learns how wrong the clock is."""

    def __init__(self, reach: Reach, clock: Clock, log: Logger, pause: Pause) -> None:
        self._reach = reach
        self._clock = clock
        self._log = log
        self._pause = pause
        self._behind_seconds = 0.0

    @property
    def behind_seconds(self) -> float:
        """How far this device's clock is behind the server's; below 0 when it is ahead."""
        return self._behind_seconds

    def ask(
        self,
        method: str,
        url: str,
        credential: Credential | None,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        accept: Sequence[int] = (),
    ) -> Answer:
        """Return an answer of status 2xx, or of one in `accept`.

        Raises: OfflineError, LaterError, RefusedError and its kinds, AnswerError.
        """
        used = self._behind_seconds
        answer = self._persist(method, url, credential, body, headers or {})
        corrected = abs(self._behind_seconds - used) > _TOLERATED_SECONDS
        if answer.status == HTTPStatus.UNAUTHORIZED and credential is not None and corrected:
            answer = self._persist(method, url, credential, body, headers or {})
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES or answer.status in accept:
            return parse_answer(url, answer, self._now())
        raise self._refusal(url, answer)

    def _persist(
        self,
        method: str,
        url: str,
        credential: Credential | None,
        body: object,
        headers: Mapping[str, str],
    ) -> HttpsAnswer:
        for left in range(self._reach.retries, -1, -1):
            try:
                answer = self._once(method, url, credential, body, headers)
            except OfflineError:
                if not left:
                    raise
            else:
                if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR or not left:
                    return answer
            self._pause(_PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    def _once(
        self,
        method: str,
        url: str,
        credential: Credential | None,
        body: object,
        headers: Mapping[str, str],
    ) -> HttpsAnswer:
        try:
            context = trust_context(list(self._reach.roots()))
            sent = {"Accept": "application/json", **headers}
            if credential is not None:
                credential.prepare(context)
                authorization = credential.authorization(self._now())
                if authorization is not None:
                    sent["Authorization"] = authorization
            data = b""
            if body is not None:
                data = json.dumps(body).encode()
                sent["Content-Type"] = "application/json"
            client = HttpsClient(
                context, proxy=self._reach.proxy, timeout_seconds=self._reach.timeout_seconds
            )
            answer = client.request(method, url, headers=sent, body=data)
        except HttpsError as error:
            raise OfflineError(str(error)) from error
        self._compare_clocks(urlsplit(url).netloc, answer)
        return answer

    def _now(self) -> float:
        return self._clock.now().timestamp() + self._behind_seconds

    def _compare_clocks(self, server: str, answer: HttpsAnswer) -> None:
        date = _http_date(answer.headers.get("date"))
        if date is None:
            return
        behind = (date - self._clock.now()).total_seconds()
        if abs(behind) <= _TOLERATED_SECONDS:
            behind = 0.0
        if abs(behind - self._behind_seconds) > _TOLERATED_SECONDS:
            self._behind_seconds = behind
            if behind:
                self._log.warning(
                    "the clock of this device is wrong; the server's is used for tokens",
                    server=server,
                    off=describe_offset(behind),
                    remedy="set the clock, look at the time service",
                )

    def _refusal(self, url: str, answer: HttpsAnswer) -> OfflineError | RefusedError:
        server = urlsplit(url).netloc
        said = f"{server} answered {answer.status}: {_message(answer)}"
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = _retry_after(answer, self._now()) or _DEFAULT_WAIT_SECONDS
            return LaterError(said, wait)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait_after = _retry_after(answer, self._now())
            return OfflineError(said) if wait_after is None else LaterError(said, wait_after)
        if answer.status == HTTPStatus.NOT_FOUND:
            return MissingError(said, answer.status)
        if answer.status == HTTPStatus.CONFLICT:
            return ConflictError(said, answer.status)
        if answer.status == HTTPStatus.UNAUTHORIZED and self._behind_seconds:
            said += f"; this device's clock is {describe_offset(self._behind_seconds)}"
        return RefusedError(said, answer.status)


def parse_answer(url: str, answer: HttpsAnswer, now: float) -> Answer:
    """Read an answer; `now` in seconds since 1970. Raises: AnswerError."""
    return Answer(answer.status, _value(url, answer), _retry_after(answer, now))


def describe_offset(behind_seconds: float) -> str:
    """Say how wrong a clock is: `3 minutes behind`, `2 years ahead`."""
    amount, unit = abs(behind_seconds), "seconds"
    for name, seconds in (
        ("years", 31_557_600),
        ("days", 86_400),
        ("hours", 3600),
        ("minutes", 60),
    ):
        if amount >= 2 * seconds:
            amount, unit = amount / seconds, name
            break
    return f"{amount:.0f} {unit} {'behind' if behind_seconds > 0 else 'ahead'}"


def _value(url: str, answer: HttpsAnswer) -> object:
    if not answer.body.strip():
        return None
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        server = urlsplit(url).netloc
        raise AnswerError(f"{server} answered {answer.status} with something not JSON") from None


def _message(answer: HttpsAnswer) -> str:
    """Return what the server says, for people: its JSON's message, or the start of its text."""
    text = answer.body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        code = value.get("errorCode", value.get("code"))
        words = next(
            (value[name] for name in ("message", "Message", "errorMessage") if value.get(name)),
            text,
        )
        text = f"{words}" if code is None else f"{words} ({code})"
    shown = "".join(letter if letter.isprintable() else " " for letter in text[:_MAX_SHOWN])
    return shown.strip() or "no reason given"


def _http_date(text: str | None) -> datetime | None:
    try:
        return None if text is None else parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _retry_after(answer: HttpsAnswer, now: float) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date."""
    text = answer.headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        date = _http_date(text or None)
        seconds = math.nan if date is None else date.timestamp() - now
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _MAX_WAIT_SECONDS)
