"""A lab in memory with a few devices, and short ways to ask what targeting made of them."""

from collections.abc import Mapping

from harness.lab import memory_cloud
from skerry.wire.identity import Identity
from skerry_lab.configurations.model import Configuration
from skerry_lab.registry.model import Authentication, AuthType, Device

SYSTEM: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "$edgeAgent": {"properties.desired": {"modules": {}}}
}


class Fleet:
    """Everything in one thread; each call is a transaction of its own."""

    def __init__(self) -> None:
        self.cloud, self.connection = memory_cloud()
        self.connection.execute("PRAGMA foreign_keys = ON")

    def device(self, device_id: str, *, edge: bool = False, **tags: object) -> None:
        """Register a device, or change it."""
        auth = Authentication(AuthType.NONE)
        present = self.cloud.registry.store.device(device_id)
        self.cloud.registry.put_device(Device(device_id, auth, edge=edge), "*" if present else None)
        if tags:
            self.tag(device_id, **tags)

    def tag(self, device_id: str, **tags: object) -> None:
        self.cloud.twins.patch(Identity(device_id), tags=tags)

    def put(
        self,
        name: str,
        content: Mapping[str, object],
        target: str = "*",
        priority: int = 0,
        *,
        is_update: bool = False,
    ) -> Configuration:
        """Store a configuration and finish the sweep."""
        body = {"content": content, "targetCondition": target, "priority": priority}
        found = self.cloud.configurations.put(name, body, "*" if is_update else None)
        self.finish()
        return found

    def remove(self, name: str) -> None:
        self.cloud.configurations.remove(name)
        self.finish()

    def finish(self) -> None:
        while self.cloud.targeting.step():
            pass

    def desired(self, device_id: str, module_id: str | None = None) -> dict[str, object]:
        twin = self.cloud.twins.get(Identity(device_id, module_id))
        return dict(twin.desired.properties)

    def status(self, device_id: str, module_id: str | None = None) -> dict[str, object]:
        """Return the statuses in a twin, by configuration."""
        found = self.cloud.views.of(Identity(device_id, module_id)).get("configurations", {})
        assert isinstance(found, dict)
        return {name: entry["status"] for name, entry in found.items()}

    def counts(self, name: str) -> tuple[int, ...]:
        found = self.cloud.configurations
        return tuple(found.counts(found.get(name)).values())


def device_content(**settings: object) -> dict[str, object]:
    """Return a content for devices: `a__b=1` is what lies at `a.b`."""
    return {"deviceContent": _section(settings)}


def edge_content(*, base: bool = False, **modules: Mapping[str, object]) -> dict[str, object]:
    """Return a deployment; a base has a whole of the agent."""
    named = {name: _section(settings) for name, settings in modules.items()}
    return {"modulesContent": {**(SYSTEM if base else {}), **named}}


def _section(settings: Mapping[str, object]) -> dict[str, object]:
    if "whole" in settings:
        return {"properties.desired": settings["whole"]}
    return {
        f"properties.desired.{name.replace('__', '.')}": value for name, value in settings.items()
    }
