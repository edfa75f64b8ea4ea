"""IoT Hub's registry of a device's modules, as identityd uses it (azure-iot-edge.md §8.3)."""

import base64
from dataclasses import dataclass
from urllib.parse import quote

from skerry.provisioning.cloud import Cloud
from skerry.provisioning.credential import Credential
from skerry.provisioning.errors import AnswerError, OfflineError

API_VERSION = "2017-11-08-preview"


@dataclass(frozen=True)
class HubModule:
    """A module of the registry; a new generation id means that it was made anew."""

    module_id: str
    generation_id: str
    managed_by: str = ""


class HubRegistry:
    """The modules of one device; `host` is the hub, or the parent that stands for it."""

    def __init__(self, cloud: Cloud, host: str, device_id: str, credential: Credential) -> None:
        self._cloud = cloud
        self._base = f"https://{host}/devices/{quote(device_id, safe='')}/modules"
        self._device_id = device_id
        self._credential = credential

    def all(self) -> list[HubModule]:
        """Return every module; raises ProvisioningError."""
        return read_modules(self._ask("GET", ""))

    def get(self, module_id: str) -> HubModule:
        """Return a module; MissingError when there is none."""
        return _module(self._ask("GET", module_id))

    def create(self, module_id: str, managed_by: str) -> HubModule:
        """Make a module that has no keys yet; ConflictError when there is one."""
        body = {
            "moduleId": module_id,
            "deviceId": self._device_id,
            "managedBy": managed_by,
            "authentication": {"type": "none"},
        }
        return _module(self._ask("PUT", module_id, body))

    def set_keys(self, module: HubModule, primary: bytes, secondary: bytes) -> HubModule:
        """Give a module the keys that it signs with, 32 bytes each."""
        body = {
            "moduleId": module.module_id,
            "deviceId": self._device_id,
            "generationId": module.generation_id,
            "managedBy": module.managed_by,
            "authentication": {
                "type": "sas",
                "symmetricKey": {"primaryKey": _b64(primary), "secondaryKey": _b64(secondary)},
            },
        }
        return _module(self._ask("PUT", module.module_id, body, any_version=True))

    def delete(self, module_id: str) -> None:
        """Remove a module; MissingError when there is none."""
        self._ask("DELETE", module_id, any_version=True)

    def _ask(
        self, method: str, module_id: str, body: object = None, *, any_version: bool = False
    ) -> object:
        name = f"/{quote(module_id, safe='')}" if module_id else ""
        url = f"{self._base}{name}?api-version={API_VERSION}"
        headers = {"If-Match": "*"} if any_version else {}
        value = self._cloud.ask(method, url, self._credential, body, headers=headers).value
        if isinstance(value, dict) and value.get("networkError") is True:
            # a parent that has no connection itself
            raise OfflineError("the parent of this device has no connection to the hub")
        return value


def read_modules(value: object) -> list[HubModule]:
    """Read the list of a device's modules; raises AnswerError."""
    if not isinstance(value, list):
        raise AnswerError("the hub answered without a list of modules")
    return [_module(entry) for entry in value]


def _module(value: object) -> HubModule:
    match value:
        case {"moduleId": str(module_id), "generationId": str(generation), **rest}:
            managed_by: object = rest.get("managedBy")
            return HubModule(module_id, generation, str(managed_by or ""))
    raise AnswerError("the hub answered with a module without moduleId and generationId")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
