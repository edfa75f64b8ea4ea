"""Twins over the service REST (device-sdk-wire.md §4.4): GET, PATCH and PUT of /twins/…

A twin is shown with what the registry knows of its device or module and whether that is connected.
"""

from skerry.heads.routes import Answer, Request, Route
from skerry.wire.identity import Identity
from skerry_lab.registry.access import Access
from skerry_lab.registry.errors import bad_argument
from skerry_lab.registry.policies import Right
from skerry_lab.registry.requests import check_version, if_match, json_body, tagged
from skerry_lab.registry.service import ANY
from skerry_lab.twins.model import Twin
from skerry_lab.twins.service import Twins
from skerry_lab.twins.views import Views


class TwinsApi:
    """Handlers; each runs in one transaction."""

    def __init__(self, twins: Twins, views: Views, access: Access) -> None:
        self._twins = twins
        self._views = views
        self._access = access

    def routes(self) -> list[Route]:
        device, module = "/twins/{device_id}", "/twins/{device_id}/modules/{module_id}"
        return [
            Route(method, path, handler)
            for path in (device, module)
            for method, handler in (
                ("GET", self.get),
                ("PATCH", self.patch),
                ("PUT", self.put),
            )
        ]

    def get(self, request: Request, device_id: str, module_id: str | None = None) -> Answer:
        check_version(request)
        self._access.policy(request, Right.SERVICE_CONNECT)
        identity = Identity(device_id, module_id)
        return self._shown(identity, self._twins.get(identity))

    def patch(self, request: Request, device_id: str, module_id: str | None = None) -> Answer:
        check_version(request)
        self._access.policy(request, Right.REGISTRY_WRITE)
        identity = Identity(device_id, module_id)
        tags, desired = _parts(request)
        etag = if_match(request) or ANY
        twin = self._twins.patch(identity, tags=tags, desired=desired, if_match=etag)
        return self._shown(identity, twin)

    def put(self, request: Request, device_id: str, module_id: str | None = None) -> Answer:
        check_version(request)
        self._access.policy(request, Right.REGISTRY_WRITE)
        identity = Identity(device_id, module_id)
        tags, desired = _parts(request)
        etag = if_match(request) or ANY
        twin = self._twins.replace(
            identity,
            tags={} if tags is None else tags,
            desired={} if desired is None else desired,
            if_match=etag,
        )
        return self._shown(identity, twin)

    def _shown(self, identity: Identity, twin: Twin) -> Answer:
        return tagged(self._views.of(identity), twin.etag)


def _parts(request: Request) -> tuple[object, object]:
    """Return tags and desired properties of a body, None for what it does not name."""
    body = json_body(request)
    properties = body.get("properties")
    if properties is not None and not isinstance(properties, dict):
        raise bad_argument("properties is not a JSON object")
    return body.get("tags"), (properties or {}).get("desired")
