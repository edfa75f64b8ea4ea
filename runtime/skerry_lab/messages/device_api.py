"""Messages as devices and modules see them over HTTPS (device-sdk-wire.md §4.1, §4.2).

Some SDKs write `deviceBound`, some `devicebound`: both are served.
"""

from skerry.heads.routes import Answer, Request, Route
from skerry.wire.identity import Identity
from skerry_lab.messages.headers import c2d_headers, telemetry_from
from skerry_lab.messages.model import Outcome
from skerry_lab.messages.service import Messages
from skerry_lab.registry.access import Access
from skerry_lab.registry.requests import check_version


class DeviceMessagesApi:
    """Handlers; each runs in one transaction."""

    def __init__(self, messages: Messages, access: Access) -> None:
        self._messages = messages
        self._access = access

    def routes(self) -> list[Route]:
        found = []
        for start in ("/devices/{device_id}", "/devices/{device_id}/modules/{module_id}"):
            found.append(Route("POST", f"{start}/messages/events", self.send))
            for bound in ("deviceBound", "devicebound"):
                path = f"{start}/messages/{bound}"
                found += [
                    Route("GET", path, self.receive),
                    Route("DELETE", f"{path}/{{token}}", self.settle),
                    Route("POST", f"{path}/{{token}}/abandon", self.abandon),
                ]
        return found

    def send(self, request: Request, device_id: str, module_id: str | None = None) -> Answer:
        identity = self._caller(request, device_id, module_id)
        self._messages.append(telemetry_from(identity, request))
        return Answer(204)

    def receive(self, request: Request, device_id: str, module_id: str | None = None) -> Answer:
        identity = self._caller(request, device_id, module_id)
        for message in self._messages.next_c2d(identity, 1):
            return Answer(200, message.body, c2d_headers(message))
        return Answer(204)

    def settle(
        self, request: Request, device_id: str, token: str, module_id: str | None = None
    ) -> Answer:
        outcome = Outcome.REJECT if "reject" in request.query else Outcome.COMPLETE
        return self._settle(request, Identity(device_id, module_id), token, outcome)

    def abandon(
        self, request: Request, device_id: str, token: str, module_id: str | None = None
    ) -> Answer:
        return self._settle(request, Identity(device_id, module_id), token, Outcome.ABANDON)

    def _settle(self, request: Request, identity: Identity, token: str, outcome: Outcome) -> Answer:
        self._caller(request, identity.device_id, identity.module_id)
        self._messages.settle(identity, token.strip('"'), outcome)
        return Answer(204)

    def _caller(self, request: Request, device_id: str, module_id: str | None) -> Identity:
        check_version(request)
        identity = Identity(device_id, module_id)
        self._access.device(request, identity)
        return identity
