"""Where messages go: routes evaluated once for all messages that differ in their body only.

Invariants
- What is remembered did not look at the body: system and application properties and the sender
  decide alone, so that another body cannot lead elsewhere.
- At most `_MOST` decisions are kept, none of them for more than `_BYTES` of properties.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skerry.heads.model import Telemetry, bag_bytes
from skerry.hub.desired import Desired
from skerry.hub.routes.model import Message
from skerry.hub.store.model import Target

_MOST, _BYTES = 1024, 512
_TWIN_CHANGES = "/twinChangeNotifications"


@dataclass(frozen=True, slots=True)
class Decision:
    """`system` are the properties as they are stored and passed on, with the sender's names."""

    system: Mapping[str, str]
    targets: Sequence[Target]
    bag_bytes: int
    """What the properties count for, as they came."""


class Decisions:
    """The decisions of one set of routes."""

    def __init__(self, desired: Desired, device_id: str) -> None:
        self._desired = desired
        self._device_id = device_id
        self._known: dict[object, Decision] = {}

    def of(self, message: Telemetry) -> Decision:
        """Return where a message goes."""
        key = (
            message.identity,
            tuple(message.system.items()),
            tuple(message.properties.items()),
        )
        known = self._known.get(key)
        return self._decide(key, message) if known is None else known

    def of_change(self, change: Telemetry) -> Decision:
        """Return where the news of a client's reported patch, its body, goes; not remembered."""
        system, _ = _origin(change)
        seen = Message(_TWIN_CHANGES, change.properties, system, change.body)
        targets = self._desired.targets(seen, self._device_id)
        return Decision(system, targets, bag_bytes(change.system, change.properties))

    def _decide(self, key: object, message: Telemetry) -> Decision:
        system, place = _origin(message)
        seen = Message(place, message.properties, system, message.body)
        size = bag_bytes(message.system, message.properties)
        decision = Decision(system, self._desired.targets(seen, self._device_id), size)
        if not seen.is_read and size <= _BYTES:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = decision
        return decision


def _origin(message: Telemetry) -> tuple[Mapping[str, str], str]:
    """Return the properties with the sender's names, and the source that routes look at."""
    identity = message.identity
    system = {**message.system, "connection-device-id": identity.device_id}
    if identity.module_id is None:
        return system, "/messages"
    system["connection-module-id"] = identity.module_id
    output = message.system.get("output-name")
    tail = f"/outputs/{output}" if output else ""
    return system, f"/messages/modules/{identity.module_id}{tail}"
