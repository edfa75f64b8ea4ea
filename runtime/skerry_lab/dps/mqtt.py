"""The device side of DPS over MQTT: each publication is a request of the HTTPS API, told otherwise.

Nothing is decided here: credentials, quotas and states are the API's. Sources: azure-iot-edge.md
§8.6, device-sdk-wire.md §4.3.

    CONNECT                     client id RID, user {scope}/registrations/{RID}/api-version=…
    PUT/iotdps-register/        register          answered on $dps/registrations/res/{status}/
    GET/iotdps-get-operationstatus/  poll         ?$rid={the request's}[&retry-after={seconds}]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl, quote, unquote

from skerry.heads.routes import Answer, Request
from skerry.wire.mqtt import Connect
from skerry.wire.topics import TopicError
from skerry_lab.cloud import Cloud
from skerry_lab.dps.errors import DpsError

T = TypeVar("T")

ACCEPTED, BAD_CLIENT_ID, BAD_USER_NAME, REFUSED = 0, 2, 4, 5

_MARK = "/registrations/"
_REGISTER = "$dps/registrations/PUT/iotdps-register/"
_POLL = "$dps/registrations/GET/iotdps-get-operationstatus/"


def is_dps(user_name: str | None) -> bool:
    """Tell whether a CONNECT with this user name is for DPS."""
    return user_name is not None and _MARK in user_name


@dataclass(frozen=True)
class _Caller:
    scope: str
    registration_id: str
    api_version: str
    headers: dict[str, str]
    certificates: tuple[bytes, ...]

    def request(self, method: str, action: str, body: bytes) -> Request:
        path = f"/{quote(self.scope, safe='')}{_MARK}{quote(self.registration_id, safe='')}"
        query = {"api-version": self.api_version}
        return Request(method, f"{path}/{action}", query, self.headers, body, self.certificates)


class Asked(Protocol):
    """The lab's data: `skerry_lab.store.Store`."""

    async def ado(self, work: Callable[[Cloud], T]) -> T: ...

    async def answer(self, request: Request) -> Answer: ...


class DpsLink:
    """One connection to DPS; `connect` first, then `publish` for each PUBLISH."""

    def __init__(self, store: Asked) -> None:
        self._store = store
        self._caller: _Caller | None = None

    async def connect(self, packet: Connect, certificates: Sequence[bytes]) -> int:
        """Return the code of the CONNACK: `ACCEPTED`, or why not."""
        caller = _caller(packet, certificates)
        if caller is None:
            return BAD_USER_NAME
        if packet.client_id.lower() != caller.registration_id.lower():
            return BAD_CLIENT_ID
        request = caller.request("GET", "", b"")
        try:
            await self._store.ado(
                lambda cloud: cloud.provisioning.admit(
                    request, caller.scope, caller.registration_id
                )
            )
        except DpsError:
            return REFUSED
        self._caller = caller
        return ACCEPTED

    async def publish(self, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        """Answer a publication with topics and payloads. Raises: TopicError for any other topic."""
        path, _, query = topic.partition("?")
        options = dict(part.partition("=")[::2] for part in query.split("&"))
        request_id = options.get("$rid", "")
        operation = unquote(options.get("operationId", ""))
        is_known = path == _REGISTER or (path == _POLL and operation)
        if self._caller is None or not is_known or not request_id:
            raise TopicError(f"topic {topic!r} is not one of DPS's, expected '{_REGISTER}?$rid=…'")
        if path == _REGISTER:
            request = self._caller.request("PUT", "register", payload)
        else:
            action = f"operations/{quote(operation, safe='')}"
            request = self._caller.request("GET", action, b"")
        answer = await self._store.answer(request)
        wait = answer.headers.get("retry-after")
        tail = "" if wait is None else f"&retry-after={wait}"
        topic = f"$dps/registrations/res/{answer.status}/?$rid={request_id}{tail}"
        return [(topic, answer.body)]


def _caller(packet: Connect, certificates: Sequence[bytes]) -> _Caller | None:
    scope, mark, rest = (packet.username or "").partition(_MARK)
    registration_id, _, query = rest.partition("/")
    options = dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True))
    version = options.get("api-version", "")
    if not mark or not scope or not registration_id or not version:
        return None
    try:
        token = (packet.password or b"").decode("ascii")
    except UnicodeDecodeError:
        return None
    headers = {"authorization": token} if token else {}
    return _Caller(scope, registration_id, version, headers, tuple(certificates))
