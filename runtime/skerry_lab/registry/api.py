"""The registry's REST, for devices (their own modules) and for service SDKs (all of it).

Both use the same paths; the credential decides. Sources: azure-iot-edge.md §8.3 for a device,
device-sdk-wire.md §4.4 for service SDKs.
"""

from skerry.heads.routes import Answer, Request, Route
from skerry_lab.registry.access import Access
from skerry_lab.registry.errors import bad_argument
from skerry_lab.registry.model import MAX_DEVICES_LISTED, device_from, module_from
from skerry_lab.registry.policies import Right
from skerry_lab.registry.presence import Presence
from skerry_lab.registry.requests import check_version, if_match, json_body, tagged
from skerry_lab.registry.service import ANY, Registry


class RegistryApi:
    """Handlers; each runs in one transaction."""

    def __init__(self, registry: Registry, access: Access, presence: Presence) -> None:
        self._registry = registry
        self._access = access
        self._presence = presence

    def routes(self) -> list[Route]:
        device, modules = "/devices/{device_id}", "/devices/{device_id}/modules"
        module = f"{modules}/{{module_id}}"
        return [
            Route("GET", "/devices", self.list_devices),
            Route("GET", device, self.get_device),
            Route("PUT", device, self.put_device),
            Route("DELETE", device, self.delete_device),
            Route("GET", modules, self.list_modules),
            Route("GET", module, self.get_module),
            Route("PUT", module, self.put_module),
            Route("DELETE", module, self.delete_module),
            Route("GET", "/statistics/devices", self.device_statistics),
            Route("GET", "/statistics/service", self.service_statistics),
        ]

    def list_devices(self, request: Request) -> Answer:
        check_version(request)
        self._access.policy(request, Right.REGISTRY_READ)
        devices = self._registry.store.devices(_top(request))
        return Answer.json([device.to_json() for device in devices])

    def get_device(self, request: Request, device_id: str) -> Answer:
        check_version(request)
        self._access.policy_or_device(request, Right.REGISTRY_READ, device_id)
        device = self._registry.device(device_id)
        return tagged(device.to_json(), device.etag)

    def put_device(self, request: Request, device_id: str) -> Answer:
        check_version(request)
        self._access.policy(request, Right.REGISTRY_WRITE)
        wanted = device_from(json_body(request), device_id, self._registry.fresh_keys())
        device = self._registry.put_device(wanted, if_match(request))
        return tagged(device.to_json(), device.etag)

    def delete_device(self, request: Request, device_id: str) -> Answer:
        check_version(request)
        self._access.policy(request, Right.REGISTRY_WRITE)
        self._registry.delete_device(device_id, if_match(request) or ANY)
        return Answer(204)

    def list_modules(self, request: Request, device_id: str) -> Answer:
        check_version(request)
        self._access.policy_or_device(request, Right.REGISTRY_READ, device_id)
        self._registry.device(device_id)
        modules = self._registry.store.modules(device_id)
        return Answer.json([module.to_json() for module in modules])

    def get_module(self, request: Request, device_id: str, module_id: str) -> Answer:
        check_version(request)
        self._access.policy_or_device(request, Right.REGISTRY_READ, device_id)
        module = self._registry.module(device_id, module_id)
        return tagged(module.to_json(), module.etag)

    def put_module(self, request: Request, device_id: str, module_id: str) -> Answer:
        check_version(request)
        self._access.policy_or_device(request, Right.REGISTRY_WRITE, device_id)
        wanted = module_from(json_body(request), device_id, module_id, self._registry.fresh_keys())
        module = self._registry.put_module(wanted, if_match(request))
        return tagged(module.to_json(), module.etag)

    def delete_module(self, request: Request, device_id: str, module_id: str) -> Answer:
        check_version(request)
        self._access.policy_or_device(request, Right.REGISTRY_WRITE, device_id)
        self._registry.delete_module(device_id, module_id, if_match(request) or ANY)
        return Answer(204)

    def device_statistics(self, request: Request) -> Answer:
        check_version(request)
        self._access.policy(request, Right.REGISTRY_READ)
        counts = self._registry.store.count_devices()
        return Answer.json(
            {
                "totalDeviceCount": sum(counts.values()),
                "enabledDeviceCount": counts.get("enabled", 0),
                "disabledDeviceCount": counts.get("disabled", 0),
            }
        )

    def service_statistics(self, request: Request) -> Answer:
        check_version(request)
        self._access.policy(request, Right.SERVICE_CONNECT)
        return Answer.json({"connectedDeviceCount": self._presence.count_devices()})


def _top(request: Request) -> int:
    text = request.query.get("top", str(MAX_DEVICES_LISTED))
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_DEVICES_LISTED:
        raise bad_argument(f"top is {text!r}, expected 1 to {MAX_DEVICES_LISTED}")
    return int(text)
