"""Parents and children: which devices an edge device speaks for.

A scope is the text `ms-azure-iot-edge://<id>-<generation>` that an edge device owns; a child names
the scope of its parent in `parent_scopes`, a leaf in `scope` too (azure-iot-edge.md §6.6).

Invariants
- A parent is an edge device that exists; who has children stays one.
- Nobody is above itself; edge devices lie `MAX_LAYERS` deep at most and have `MAX_CHILDREN` each.

A chain is a path upwards, `target;parent;…;actor`: the target is a device or `device/module`, the
last is the edge device whose hub asks, also written `actor/$edgeHub`; the device of a module that
is the target may be left out (§6.7).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from skerry.wire.identity import Identity
from skerry_lab.registry.errors import bad_argument, unauthorized
from skerry_lab.registry.model import EDGE_HUB, Device, Status
from skerry_lab.registry.store import RegistryStore

MAX_LAYERS = 5
MAX_CHILDREN = 100

_SCHEME = "ms-azure-iot-edge://"


@dataclass(frozen=True)
class Chain:
    """A chain that has been read: whom it is about, and the devices from there to the actor."""

    target: Identity
    devices: tuple[str, ...]

    @property
    def actor(self) -> Identity:
        """The hub that speaks for the target."""
        return Identity(self.devices[-1], EDGE_HUB)


def scope_of(device_id: str, generation_id: str) -> str:
    """Return the scope that an edge device owns."""
    return f"{_SCHEME}{device_id}-{generation_id}"


def parse_chain(text: str) -> Chain:
    """Read `target;parent;…;actor`. Raises: HubError 401."""
    parts = [Identity.parse(part) for part in text.split(";")]
    *middle, last = parts
    if last.module_id == EDGE_HUB and len(parts) > 1:
        last = Identity(last.device_id)
    if not all(part.device_id for part in parts) or any(p.module_id for p in (*middle[1:], last)):
        raise unauthorized(f"auth chain {text!r} is not known, expected 'TARGET;PARENT;…;ACTOR'")
    devices = [parts[0].device_id]
    for part in (*middle[1:], last):
        # The device of a module may follow it, and the actor's hub the actor.
        if part.device_id != devices[-1]:
            devices.append(part.device_id)
    return Chain(parts[0], tuple(devices))


class Hierarchy:
    """To be called on the database's thread."""

    def __init__(self, store: RegistryStore) -> None:
        self._store = store

    def owner(self, scope: str) -> Device | None:
        """Return the edge device that owns a scope."""
        device = self._store.device(scope.removeprefix(_SCHEME).rpartition("-")[0])
        return device if device is not None and device.edge and device.scope == scope else None

    def parent(self, device: Device) -> Device | None:
        """Return the edge device above one."""
        return self.owner(device.parent_scopes[0]) if device.parent_scopes else None

    def children(self, device: Device, limit: int = MAX_CHILDREN, after: str = "") -> list[Device]:
        """Return the next devices right below one, by id."""
        if not device.edge or device.scope is None:
            return []
        return self._store.children(device.scope, limit, after)

    def below(self, device: Device) -> Iterator[Device]:
        """Yield all devices below one."""
        for child in self.children(device):
            yield child
            yield from self.below(child)

    def above(self, device: Device) -> Iterator[Device]:
        """Yield the edge devices above one, the nearest first."""
        above = self.parent(device)
        while above is not None:
            yield above
            above = self.parent(above)

    def placed(self, wanted: Device, former: Device | None) -> Device:
        """Return a device, whose generation is known, with the scopes it is to have.

        Raises: HubError 400.
        """
        own = scope_of(wanted.device_id, wanted.generation_id)
        named = _named(wanted, own)
        if former is not None and former.edge and not wanted.edge and self.children(former, 1):
            raise bad_argument(
                f"device {wanted.device_id!r} has children, so it has to stay an edge device"
            )
        if named is not None and (former is None or former.parent_scopes != (named,)):
            self._check_parent(wanted, former, named)
        scopes = () if named is None else (named,)
        return replace(wanted, scope=own if wanted.edge else named, parent_scopes=scopes)

    def device_under(self, actor: Device, device_id: str) -> Device | None:
        """Return a device that is the actor or below it."""
        device = self._store.device(device_id)
        if device is None or device.device_id == actor.device_id:
            return device
        ids = (above.device_id for above in self.above(device))
        return device if actor.device_id in ids else None

    def check(self, chain: Chain) -> list[Device]:
        """Return the devices of a chain, if that is how they lie above each other.

        Raises: HubError 401.
        """
        devices: list[Device] = []
        for device_id in chain.devices:
            device = self._store.device(device_id)
            if device is None or device.status is Status.DISABLED:
                raise unauthorized(f"device {device_id!r} of the auth chain is not there, or off")
            if devices:
                above = self.parent(devices[-1])
                if above is None or above.device_id != device_id:
                    raise unauthorized(
                        f"device {devices[-1].device_id!r} is not a child of {device_id!r}"
                    )
            devices.append(device)
        if not devices[-1].edge:
            raise unauthorized(f"device {chain.devices[-1]!r} is not an edge device")
        return devices

    def _check_parent(self, wanted: Device, former: Device | None, scope: str) -> None:
        parent = self.owner(scope)
        if parent is None or parent.device_id == wanted.device_id:
            raise bad_argument(
                f"scope {scope!r} is not that of another edge device; take the parent's deviceScope"
            )
        above = [parent, *self.above(parent)]
        if any(one.device_id == wanted.device_id for one in above):
            raise bad_argument(f"device {parent.device_id!r} lies below {wanted.device_id!r}")
        layers = len(above) + (self._height(former or wanted) if wanted.edge else 0)
        if layers > MAX_LAYERS:
            raise bad_argument(
                f"that makes {layers} layers of edge devices, expected at most {MAX_LAYERS}"
            )
        if len(self.children(parent)) >= MAX_CHILDREN:
            raise bad_argument(
                f"device {parent.device_id!r} has {MAX_CHILDREN} children, "
                "which is the most there may be"
            )

    def _height(self, device: Device) -> int:
        below = (self._height(child) for child in self.children(device) if child.edge)
        return 1 + max(below, default=0)


def _named(wanted: Device, own: str) -> str | None:
    """Return the one scope that a device names as its parent's."""
    names = [scope for scope in wanted.parent_scopes if scope]
    if not wanted.edge and wanted.scope and wanted.scope != own:
        names.append(wanted.scope)
    if len(set(names)) > 1:
        raise bad_argument(f"device {wanted.device_id!r} names {len(set(names))} parents, not one")
    return names[0] if names else None
