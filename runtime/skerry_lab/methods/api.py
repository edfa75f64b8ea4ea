"""Direct methods over REST: `POST /twins/{device}[/modules/{module}]/methods`.

Services call with a policy; a module calls with its own token and says who it is in the header
`x-ms-edge-moduleId` (device-sdk-wire.md §4.1), which the token has to bear out. Limits:
azure-iot-edge.md §11.3.
"""

import json
from dataclasses import dataclass

from skerry.heads.links import Links, NotSubscribedError
from skerry.heads.routes import Answer, LiveRoute, Request
from skerry.wire.identity import Identity
from skerry_lab.cloud import Cloud
from skerry_lab.registry.errors import HubError, bad_argument
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, json_body
from skerry_lab.store import Store

MAX_PAYLOAD_BYTES = 128 * 1024
MAX_NAME_CHARACTERS = 100
_RESPONSE_SECONDS, _DEFAULT_SECONDS = range(5, 301), 30
_CONNECT_SECONDS = range(301)
_CALLER = "x-ms-edge-moduleid"


@dataclass(frozen=True)
class Invocation:
    """A call as it was asked for; `payload` is JSON."""

    name: str
    payload: bytes
    response_seconds: int
    connect_seconds: int


class MethodsApi:
    """Handlers on the server's loop."""

    def __init__(self, store: Store, links: Links) -> None:
        self._store = store
        self._links = links

    def routes(self) -> list[LiveRoute]:
        device, module = "/twins/{device_id}", "/twins/{device_id}/modules/{module_id}"
        return [LiveRoute("POST", f"{path}/methods", self.invoke) for path in (device, module)]

    async def invoke(
        self, request: Request, device_id: str, module_id: str | None = None
    ) -> Answer:
        identity = Identity(device_id, module_id)
        wanted = await self._store.ado(lambda cloud: _admitted(cloud, request, identity))
        link = await self._links.wait_for(identity, wanted.connect_seconds)
        if link is None:
            raise _not_online(identity)
        try:
            status, payload = await link.call(wanted.name, wanted.payload, wanted.response_seconds)
        except (NotSubscribedError, ConnectionError) as error:
            raise _not_online(identity) from error
        except TimeoutError as error:
            waited = f"{identity} did not answer within {wanted.response_seconds} s"
            raise HubError(504, "GatewayTimeout", waited) from error
        return Answer.json({"status": status, "payload": _parsed(payload)})


def _admitted(cloud: Cloud, request: Request, identity: Identity) -> Invocation:
    """Check who calls, whom and what. Raises: HubError 400, 401, 403, 404."""
    check_version(request)
    caller = request.headers.get(_CALLER)
    if caller is None:
        cloud.access.policy(request, Right.SERVICE_CONNECT)
    else:
        cloud.access.device(request, Identity.parse(caller))
    cloud.twins.get(identity)
    return _invocation(json_body(request))


def _invocation(body: dict[str, object]) -> Invocation:
    name = body.get("methodName")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise bad_argument(
            f"methodName is {name!r}, expected a text of 1 to {MAX_NAME_CHARACTERS} characters"
        )
    payload = json.dumps(body.get("payload"), separators=(",", ":")).encode()
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise bad_argument(
            f"payload has {len(payload)} bytes, expected at most {MAX_PAYLOAD_BYTES}"
        )
    return Invocation(
        name,
        payload,
        _seconds(body, "responseTimeoutInSeconds", _RESPONSE_SECONDS, _DEFAULT_SECONDS),
        _seconds(body, "connectTimeoutInSeconds", _CONNECT_SECONDS, 0),
    )


def _seconds(body: dict[str, object], name: str, allowed: range, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        raise bad_argument(f"{name} is {value!r}, expected {allowed[0]} to {allowed[-1]}")
    return value


def _parsed(payload: bytes) -> object:
    if not payload:
        return None
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode(errors="replace")


def _not_online(identity: Identity) -> HubError:
    text = (
        f'{{"errorCode":404103,"trackingId":"","message":"{identity} is not online and takes no '
        'direct methods now"}}'
    )
    return HubError(404, "DeviceNotOnline", text)
