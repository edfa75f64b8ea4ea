"""Twins over the service REST (device-sdk-wire.md §4.4): GET, PATCH and PUT of /twins/…

A twin is shown with what the registry knows of its device or module and whether that is connected.
"""

from skerry_lab.identity import Identity
from skerry_lab.registry.access import Access
from skerry_lab.registry.errors import bad_argument
from skerry_lab.registry.model import Authentication, Device
from skerry_lab.registry.policies import Right
from skerry_lab.registry.presence import Presence
from skerry_lab.registry.requests import check_version, if_match, json_body, tagged
from skerry_lab.registry.service import ANY, Registry
from skerry_lab.routes import Answer, Request, Route
from skerry_lab.twins.model import Twin
from skerry_lab.twins.service import Twins

_NEVER = "0001-01-01T00:00:00Z"


class TwinsApi:
    """Handlers; each runs in one transaction."""

    def __init__(
        self, twins: Twins, registry: Registry, access: Access, presence: Presence
    ) -> None:
        self._twins = twins
        self._registry = registry
        self._access = access
        self._presence = presence

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
        return tagged(self.to_json(identity, twin), twin.etag)

    def to_json(self, identity: Identity, twin: Twin) -> dict[str, object]:
        """Return a twin as IoT Hub's REST shows it. Raises: HubError 404."""
        device = self._registry.device(identity.device_id)
        auth, etag = device.authentication, device.etag
        if identity.module_id is not None:
            module = self._registry.module(identity.device_id, identity.module_id)
            auth, etag = module.authentication, module.etag
        connected = self._presence.is_connected(identity)
        shown: dict[str, object] = {"deviceId": identity.device_id}
        if identity.module_id is not None:
            shown["moduleId"] = identity.module_id
        changed = device.status_updated
        return shown | {
            "etag": twin.etag,
            "deviceEtag": etag,
            "status": device.status.value,
            "statusReason": device.status_reason,
            "statusUpdateTime": changed.isoformat() if changed else _NEVER,
            "connectionState": "Connected" if connected else "Disconnected",
            "lastActivityTime": _NEVER,
            "cloudToDeviceMessageCount": 0,
            "authenticationType": auth.type.value,
            "x509Thumbprint": _thumbprints(auth),
            "modelId": "",
            "version": twin.version,
            "tags": dict(twin.tags),
            "properties": {
                "desired": twin.desired.to_json(),
                "reported": twin.reported.to_json(),
            },
            **(_of_device(device) if identity.module_id is None else {}),
        }


def _of_device(device: Device) -> dict[str, object]:
    return {
        "capabilities": {"iotEdge": device.edge},
        "deviceScope": device.scope,
        "parentScopes": list(device.parent_scopes),
    }


def _thumbprints(auth: Authentication) -> dict[str, object]:
    return {
        "primaryThumbprint": auth.primary_thumbprint or None,
        "secondaryThumbprint": auth.secondary_thumbprint or None,
    }


def _parts(request: Request) -> tuple[object, object]:
    """Return tags and desired properties of a body, None for what it does not name."""
    body = json_body(request)
    properties = body.get("properties")
    if properties is not None and not isinstance(properties, dict):
        raise bad_argument("properties is not a JSON object")
    return body.get("tags"), (properties or {}).get("desired")
