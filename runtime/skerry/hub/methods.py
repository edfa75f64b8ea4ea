"""Direct methods from module to module or leaf: `POST /twins/{device}[/modules/{m}]/methods`.

The caller is a module of this device; it says who it is in the header `x-ms-edge-moduleId`, which
its token has to bear out (azure-iot-edge.md §6.6).
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
from skerry.hub.access import Access
from skerry.hub.errors import AccessError
from skerry.hub.figures import Figures
from skerry.wire.identity import Identity

_BAD, _UNAUTHORIZED, _NOT_FOUND, _TIMEOUT = 400, 401, 404, 504


class MethodsApi:
    """Handlers on the hub's loop."""

    def __init__(self, device_id: str, access: Access, links: Links, figures: Figures) -> None:
        self._device_id = device_id
        self._access = access
        self._links = links
        self._figures = figures

    def routes(self) -> list[LiveRoute]:
        """Return the routes."""
        device, module = "/twins/{device_id}", "/twins/{device_id}/modules/{module_id}"
        return [LiveRoute("POST", f"{path}/methods", self.invoke) for path in (device, module)]

    async def invoke(
        self, request: Request, device_id: str, module_id: str | None = None
    ) -> Answer:
        """Call a client that is connected, or connects in time."""
        caller = self._checked_caller(request)
        wanted, target = _invocation(request), Identity(device_id, module_id)
        try:
            with self._figures.call(str(caller), target):
                return Answer.json(await invoke(self._links, target, wanted))
        except NotSubscribedError as error:
            raise AccessError(_NOT_FOUND, str(error)) from error
        except TimeoutError as error:
            raise AccessError(_TIMEOUT, str(error)) from error

    def _checked_caller(self, request: Request) -> Identity:
        named = request.headers.get(CALLER_HEADER, "")
        caller = Identity.parse(named)
        if not caller.device_id or not caller.module_id:
            raise AccessError(
                _BAD, f"the header x-ms-edge-moduleId is {named!r}, expected 'DEVICE/MODULE'"
            )
        if caller.device_id != self._device_id:
            raise AccessError(_UNAUTHORIZED, f"{caller} is not a module of this device")
        self._access.judge(caller, request.headers.get("authorization"), request.certificates)
        return caller


def _invocation(request: Request) -> Invocation:
    try:
        body = json.loads(request.body)
        return parse_invocation(body if isinstance(body, dict) else {})
    except (ValueError, RecursionError, InvocationError) as error:
        raise AccessError(_BAD, f"the call cannot be read: {error}") from error
