"""Messages as services see them: send to a device, purge, feedback, files that were uploaded.

Sending is a route of our own, since IoT Hub has it over AMQP only; the rest are IoT Hub's
(device-sdk-wire.md §4.4).
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from skerry.base.clock import Clock
from skerry.heads.routes import Answer, Request, Route
from skerry.wire.identity import Identity
from skerry_lab.messages.model import Ack, Outgoing, lock_lost, octets
from skerry_lab.messages.records import RecordQueue
from skerry_lab.messages.service import Messages
from skerry_lab.registry.access import Access
from skerry_lab.registry.errors import bad_argument
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, json_body

_RECORDS_AT_ONCE = {RecordQueue.FEEDBACK: 64, RecordQueue.FILES: 1}
_CONTENT_TYPE = {
    RecordQueue.FEEDBACK: "application/vnd.microsoft.iothub.feedback.json",
    RecordQueue.FILES: "application/json; charset=utf-8",
}
_SYSTEM = {
    "correlationId": "correlation-id",
    "userId": "user-id",
    "contentType": "content-type",
    "contentEncoding": "content-encoding",
}
_FIELDS = {*_SYSTEM, "body", "bodyBase64", "properties", "messageId", "ack"} | {
    "expiryTimeUtc",
    "timeToLiveSeconds",
}
_MAX_ID = 128


class MessagesApi:
    """Handlers; each runs in one transaction."""

    def __init__(self, messages: Messages, access: Access, clock: Clock) -> None:
        self._messages = messages
        self._access = access
        self._clock = clock

    def routes(self) -> list[Route]:
        send = "/messages/devicebound"
        feedback = "/messages/serviceBound/feedback"
        files = "/messages/serviceBound/filenotifications"
        return [
            Route("POST", f"/skerry/devices/{{device_id}}{send}", self.send),
            Route("POST", f"/skerry/devices/{{device_id}}/modules/{{module_id}}{send}", self.send),
            Route("DELETE", "/devices/{device_id}/commands", self.purge),
            Route("GET", feedback, self.feedback),
            Route("DELETE", f"{feedback}/{{token}}", self.complete_feedback),
            Route("POST", f"{feedback}/{{token}}/abandon", self.abandon_feedback),
            Route("GET", files, self.files),
            Route("DELETE", f"{files}/{{token}}", self.complete_file),
            Route("POST", f"{files}/{{token}}/abandon", self.abandon_file),
        ]

    def send(self, request: Request, device_id: str, module_id: str | None = None) -> Answer:
        self._access.policy(request, Right.SERVICE_CONNECT)
        wanted = _outgoing(Identity(device_id, module_id), json_body(request), self._clock.now())
        sent = self._messages.send(wanted)
        return Answer.json(
            {
                "messageId": sent.message_id,
                "sequenceNumber": sent.number,
                "enqueuedTimeUtc": sent.enqueued.isoformat(),
                "expiryTimeUtc": sent.expires.isoformat(),
            },
            201,
        )

    def purge(self, request: Request, device_id: str) -> Answer:
        self._check(request)
        purged = self._messages.purge(device_id)
        return Answer.json({"deviceId": device_id, "moduleId": None, "totalMessagesPurged": purged})

    def feedback(self, request: Request) -> Answer:
        return self._take(request, RecordQueue.FEEDBACK)

    def complete_feedback(self, request: Request, token: str) -> Answer:
        return self._complete(request, RecordQueue.FEEDBACK, token)

    def abandon_feedback(self, request: Request, token: str) -> Answer:
        return self._abandon(request, RecordQueue.FEEDBACK, token)

    def files(self, request: Request) -> Answer:
        return self._take(request, RecordQueue.FILES)

    def complete_file(self, request: Request, token: str) -> Answer:
        return self._complete(request, RecordQueue.FILES, token)

    def abandon_file(self, request: Request, token: str) -> Answer:
        return self._abandon(request, RecordQueue.FILES, token)

    def _take(self, request: Request, queue: RecordQueue) -> Answer:
        self._check(request)
        token = secrets.token_hex(16)
        limit = _RECORDS_AT_ONCE[queue]
        records = self._messages.records.take(queue, limit, token, self._clock.now())
        if not records:
            return Answer(204)
        body = records if limit > 1 else records[0]
        headers = {"etag": f'"{token}"', "content-type": _CONTENT_TYPE[queue]}
        return Answer.json(body, headers=headers)

    def _complete(self, request: Request, queue: RecordQueue, token: str) -> Answer:
        self._check(request)
        if not self._messages.records.delete(queue, token.strip('"'), self._clock.now()):
            raise lock_lost(token)
        return Answer(204)

    def _abandon(self, request: Request, queue: RecordQueue, token: str) -> Answer:
        self._check(request)
        if not self._messages.records.abandon(queue, token.strip('"'), self._clock.now()):
            raise lock_lost(token)
        return Answer(204)

    def _check(self, request: Request) -> None:
        check_version(request)
        self._access.policy(request, Right.SERVICE_CONNECT)


def _outgoing(identity: Identity, fields: Mapping[str, object], now: datetime) -> Outgoing:
    """Read a message for a device. Raises: HubError 400."""
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise bad_argument(f"{unknown[0]!r} is not known, expected {', '.join(sorted(_FIELDS))}")
    properties = fields.get("properties") or {}
    if not isinstance(properties, dict) or not all(isinstance(v, str) for v in properties.values()):
        raise bad_argument("properties has to be a table of texts")
    ack = fields.get("ack") or Ack.NONE.value
    if ack not in list(Ack):
        raise bad_argument(f"ack is {ack!r}, expected {', '.join(Ack)}")
    message_id = _text(fields, "messageId") or ""
    if len(message_id) > _MAX_ID:
        raise bad_argument(
            f"messageId has {len(message_id)} characters, expected at most {_MAX_ID}"
        )
    named = {long: _text(fields, name) for name, long in _SYSTEM.items()}
    return Outgoing(
        identity=identity,
        body=_content(fields),
        system={long: text for long, text in named.items() if text is not None},
        properties=properties,
        message_id=message_id,
        ack=Ack(str(ack)),
        expires=_expires(fields, now),
    )


def _content(fields: Mapping[str, object]) -> bytes:
    encoded = _text(fields, "bodyBase64")
    if encoded is not None:
        return octets(encoded, "bodyBase64")
    return (_text(fields, "body") or "").encode()


def _expires(fields: Mapping[str, object], now: datetime) -> datetime | None:
    text, seconds = _text(fields, "expiryTimeUtc"), fields.get("timeToLiveSeconds")
    if text is not None:
        try:
            time = datetime.fromisoformat(text)
        except ValueError as error:
            raise bad_argument(f"expiryTimeUtc is {text[:64]!r}, expected RFC 3339") from error
        return time.replace(tzinfo=time.tzinfo or UTC)
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e9:
        raise bad_argument(f"timeToLiveSeconds is {seconds!r}, expected a number above 0")
    return now + timedelta(seconds=seconds)


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise bad_argument(f"{name} is {value!r}, expected a text")
    return value
