"""A twin, its metadata, and its JSON as IoT Hub shows it.

Desired and reported properties have a version each, which every change raises by one, and metadata:
when a property was last changed, for desired ones also at which version. Source: azure-iot-edge.md
§6.4 and §8.3, device-sdk-wire.md §4.4.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from skerry.wire.twins import merge

Properties = Mapping[str, object]


@dataclass(frozen=True)
class Part:
    """Desired or reported properties with version and metadata."""

    properties: Properties = field(default_factory=dict)
    metadata: Properties = field(default_factory=dict)
    version: int = 1

    def patched(self, patch: Properties, time: str, *, with_versions: bool) -> "Part":
        """Return the part after a patch; `time` is RFC 3339."""
        version = self.version + 1
        mark: dict[str, object] = {"$lastUpdated": time}
        if with_versions:
            mark["$lastUpdatedVersion"] = version
        return Part(merge(self.properties, patch), _stamped(self.metadata, patch, mark), version)

    def replaced(self, properties: Properties, time: str) -> "Part":
        """Return the part with other properties; those that are not named are gone."""
        empty = Part({}, {}, self.version)
        return empty.patched(properties, time, with_versions=True)

    def to_json(self) -> dict[str, object]:
        """Return the part as it stands in a twin."""
        return {**self.properties, "$metadata": dict(self.metadata), "$version": self.version}

    def for_client(self) -> dict[str, object]:
        """Return the part as a device gets it."""
        return {**self.properties, "$version": self.version}


@dataclass(frozen=True)
class Twin:
    """The stored part of a twin; what the registry knows is added when it is shown."""

    tags: Properties = field(default_factory=dict)
    desired: Part = field(default_factory=Part)
    reported: Part = field(default_factory=Part)
    version: int = 1

    @property
    def etag(self) -> str:
        """The version as IoT Hub writes it; changes of reported properties leave it."""
        return base64.b64encode(self.version.to_bytes(8, "big")).decode()


def _stamped(metadata: Properties, patch: Properties, mark: Properties) -> dict[str, object]:
    stamped: dict[str, object] = {**metadata, **mark}
    for name, value in patch.items():
        if value is None:
            stamped.pop(name, None)
            continue
        former = stamped.get(name)
        inner = former if isinstance(former, Mapping) else {}
        if isinstance(value, Mapping):
            stamped[name] = _stamped(inner, value, mark)
        else:
            stamped[name] = dict(mark)
    return stamped
