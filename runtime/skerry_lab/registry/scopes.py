"""What an edge hub may ask and change for those below it.

The hub `actor/$edgeHub` shows its own credential. A request about somebody else's scope names a
chain to the actor (see `hierarchy`). To be called on the database's thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from skerry.wire.identity import Identity
from skerry_lab.registry.errors import bad_argument, no_device, unauthorized
from skerry_lab.registry.hierarchy import Chain, parse_chain
from skerry_lab.registry.model import Device, Module
from skerry_lab.registry.service import Registry

MAX_PAGE = 100

_BEFORE_ALL = " "
"""Where the children begin: no id is less."""


@dataclass(frozen=True)
class Page:
    """Devices with their modules; `after` is where the next page begins, None at the end."""

    devices: Sequence[Device]
    modules: Sequence[Module]
    after: str | None = None

    def to_json(self, link: str | None) -> dict[str, object]:
        return {
            "devices": [device.in_scope() for device in self.devices],
            "modules": [module.in_scope() for module in self.modules],
            "continuationLink": link,
        }


class Scopes:
    """Looks into the scope of edge devices."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._hierarchy = registry.hierarchy

    def page(self, edge_id: str, size: int, after: str = "") -> Page:
        """Return an edge device, its children in the order of their ids, and their modules.

        The edge device itself comes first. The modules of a child that is an edge device are in
        the child's own scope. Raises: HubError 404.
        """
        edge = self._registry.device(edge_id)
        room = size if after else size - 1
        found = self._hierarchy.children(edge, room + 1, after)
        children = found[:room]
        devices = children if after else [edge, *children]
        more = devices[-1].device_id if len(found) > room else None
        if more == edge_id:
            more = _BEFORE_ALL
        return Page(devices, self._modules(edge, devices), more)

    def chain(self, text: object, actor_id: str) -> Chain:
        """Read the chain of a request of `actor_id`'s hub, and check it. Raises: HubError."""
        if not isinstance(text, str) or not text:
            raise bad_argument(f"authChain is {text!r}, expected 'TARGET;PARENT;…;ACTOR'")
        chain = parse_chain(text)
        if chain.actor.device_id != actor_id:
            raise unauthorized(f"auth chain {text!r} does not end at {actor_id!r}")
        self._hierarchy.check(chain)
        return chain

    def one(self, above_id: str, wanted: Identity) -> Page:
        """Return a device that is `above_id` or below it, with the module if one is wanted.

        Raises: HubError 404.
        """
        above = self._registry.device(above_id)
        device = self._hierarchy.device_under(above, wanted.device_id)
        if device is None:
            raise no_device(wanted.device_id)
        modules = []
        if wanted.module_id is not None:
            modules = [self._registry.module(wanted.device_id, wanted.module_id)]
        return Page([device], modules)

    def _modules(self, edge: Device, devices: Sequence[Device]) -> list[Module]:
        return [
            module
            for device in devices
            if not device.edge or device.device_id == edge.device_id
            for module in self._registry.store.modules(device.device_id)
        ]
