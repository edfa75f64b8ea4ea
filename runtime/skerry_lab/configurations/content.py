"""A deployment put on one device: the desired properties of its modules (device-sdk-wire.md §4.4).

A content is `{"modulesContent": {"m": {"properties.desired": {…}}}}`, also inside `{"content": …}`
as deployment files have it. A section with the key `properties.desired` replaces the module's
desired properties, one with keys below it (`properties.desired.route`) changes those alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from skerry_lab.identity import Identity
from skerry_lab.registry.errors import HubError, bad_argument
from skerry_lab.registry.model import Module, checked_id
from skerry_lab.registry.service import Registry
from skerry_lab.twins.service import Twins

_WHOLE = "properties.desired"


@dataclass(frozen=True)
class Wanted:
    """What one module is to be told: the whole of its desired properties, or a patch."""

    module_id: str
    properties: Mapping[str, object]
    is_whole: bool


def content_from(document: object) -> tuple[Wanted, ...]:
    """Read a content. Raises: HubError 400."""
    outer = _object(document, "the content")
    content = _object(outer.get("content", outer), "content")
    modules = _object(content.get("modulesContent"), "modulesContent")
    if not modules:
        raise bad_argument("modulesContent names no module")
    return tuple(_wanted(checked_id(name, "module"), part) for name, part in modules.items())


class Deployments:
    """To be called on the database's thread."""

    def __init__(self, registry: Registry, twins: Twins) -> None:
        self._registry = registry
        self._twins = twins

    def apply(self, device_id: str, content: tuple[Wanted, ...]) -> None:
        """Put a content on an edge device; modules that it names are registered.

        Raises: HubError 400, 404, 413.
        """
        device = self._registry.device(device_id)
        if not device.edge:
            raise HubError(400, "ArgumentInvalid", f"{device_id} is no edge device")
        present = {module.module_id for module in self._registry.store.modules(device_id)}
        for wanted in content:
            if wanted.module_id not in present:
                keys = self._registry.fresh_keys()
                module = Module(device_id, wanted.module_id, keys, managed_by="IotEdge")
                self._registry.put_module(module)
            identity = Identity(device_id, wanted.module_id)
            if wanted.is_whole:
                self._twins.set_desired(identity, wanted.properties)
            else:
                self._twins.patch(identity, desired=dict(wanted.properties))


def _wanted(module_id: str, part: object) -> Wanted:
    section = _object(part, f"modulesContent of {module_id!r}")
    if not section:
        raise bad_argument(f"modulesContent of {module_id!r} is empty, expected {_WHOLE!r}")
    if _WHOLE in section:
        if len(section) > 1:
            raise bad_argument(f"modulesContent of {module_id!r} has keys beside {_WHOLE!r}")
        whole = _object(section[_WHOLE], f"{_WHOLE} of {module_id!r}")
        return Wanted(module_id, whole, is_whole=True)
    patch: dict[str, object] = {}
    for key, value in section.items():
        _put(patch, key, value, module_id)
    return Wanted(module_id, patch, is_whole=False)


def _put(patch: dict[str, object], key: str, value: object, module_id: str) -> None:
    start, _, path = key.partition(f"{_WHOLE}.")
    names = path.split(".")
    if start or not all(names):
        raise bad_argument(f"{key!r} of {module_id!r} is not known, expected {_WHOLE}[.NAME…]")
    inner = patch
    for name in names[:-1]:
        below = inner.setdefault(name, {})
        if not isinstance(below, dict):
            raise bad_argument(f"{key!r} of {module_id!r} lies below another key")
        inner = below
    if names[-1] in inner:
        raise bad_argument(f"{key!r} of {module_id!r} lies above another key")
    inner[names[-1]] = value


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise bad_argument(f"{what} is not a JSON object")
    return value
