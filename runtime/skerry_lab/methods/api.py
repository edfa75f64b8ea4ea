"""Direct methods over REST: `POST /twins/{device}[/modules/{module}]/methods`.

Services call with a policy; a module calls with its own token and says who it is in the header
`x-ms-edge-moduleId` (device-sdk-wire.md §4.1), which the token has to bear out. Limits:
azure-iot-edge.md §11.3.
"""

import json

from skerry.heads.invocation import (
    CALLER_HEADER,
    Invocation,
    InvocationError,
    invoke,
    parse_invocation,
)
from skerry.heads.links import Links, NotSubscribedError
from skerry.heads.routes import Answer, LiveRoute, Request
from skerry.wire.identity import Identity
from skerry_lab.cloud import Cloud
from skerry_lab.registry.errors import HubError, bad_argument
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, json_body
from skerry_lab.store import Store


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
        try:
            return Answer.json(await invoke(self._links, identity, wanted))
        except NotSubscribedError as error:
            raise _not_online(identity) from error
        except TimeoutError as error:
            raise HubError(504, "GatewayTimeout", str(error)) from error


def _admitted(cloud: Cloud, request: Request, identity: Identity) -> Invocation:
    """Check who calls, whom and what. Raises: HubError 400, 401, 403, 404."""
    check_version(request)
    caller = request.headers.get(CALLER_HEADER)
    if caller is None:
        cloud.access.policy(request, Right.SERVICE_CONNECT)
    else:
        cloud.access.device(request, Identity.parse(caller))
    cloud.twins.get(identity)
    return _invocation(json_body(request))


def _invocation(body: dict[str, object]) -> Invocation:
    try:
        return parse_invocation(body)
    except InvocationError as error:
        raise bad_argument(str(error)) from error


def _not_online(identity: Identity) -> HubError:
    message = f"{identity} is not online and takes no direct methods now"
    text = json.dumps({"errorCode": 404103, "trackingId": "", "message": message})
    return HubError(404, "DeviceNotOnline", text)
