"""What configurations say of desired properties (device-sdk-wire.md §4.4).

A section is `{"properties.desired": {…}}`, which is the whole, or `{"properties.desired.a.b": …}`,
which is what lies at that path and nothing else. A deployment has a section for each module,
`{"modulesContent": {"m": section}}`, also inside `{"content": …}` as deployment files have it.
"""

from collections.abc import Iterable, Mapping, Sequence

from skerry.wire import twins as wire
from skerry.wire.identity import Identity
from skerry_lab.registry.errors import HubError, bad_argument
from skerry_lab.registry.model import MAX_MODULES, Module, checked_id
from skerry_lab.registry.service import Registry
from skerry_lab.twins.service import Twins

WHOLE = "properties.desired"

Path = tuple[str, ...]
Setting = tuple[Path, object]
"""Where in the desired properties, `()` for all of them, and what is there."""
Settings = Sequence[Setting]
Properties = Mapping[str, object]


def content_from(document: object) -> dict[str, Settings]:
    """Read a deployment: settings by module. Raises: HubError 400, 413."""
    outer = _object(document, "the content")
    content = _object(outer.get("content", outer), "content")
    return modules_from(content.get("modulesContent"))


def modules_from(content: object) -> dict[str, Settings]:
    """Read a `modulesContent`. Raises: HubError 400, 413."""
    modules = _object(content, "modulesContent")
    if not modules:
        raise bad_argument("modulesContent names no module")
    if len(modules) > MAX_MODULES:
        raise bad_argument(f"modulesContent names {len(modules)} modules, expected {MAX_MODULES}")
    return {
        checked_id(name, "module"): section_from(part, f"modulesContent of {name!r}")
        for name, part in modules.items()
    }


def section_from(part: object, what: str) -> Settings:
    """Read a section. Raises: HubError 400, 413."""
    section = _object(part, what)
    if not section:
        raise bad_argument(f"{what} is empty, expected {WHOLE!r}")
    if WHOLE in section:
        if len(section) > 1:
            raise bad_argument(f"{what} has keys beside {WHOLE!r}")
        settings: Settings = [((), _object(section[WHOLE], f"{WHOLE} of {what}"))]
    else:
        settings = _parts(section, what)
    _check(settled({}, (), settings))
    return settings


def conflicts(one: Settings, other: Settings) -> bool:
    """Tell whether two sections want something of the same place."""
    return any(_overlap(path, beside) for path, _ in one for beside, _ in other)


def settled(current: Properties, former: Iterable[Path], wanted: Settings) -> dict[str, object]:
    """Return desired properties without what was set before, with what is set now.

    Later settings win. An object that loses its last name is gone itself.
    """
    document = dict(current)
    for path in former:
        document = _without(document, path)
    for path, value in wanted:
        document = _with(document, path, value)
    return document


class Deployments:
    """Puts settings into twins. To be called on the database's thread."""

    def __init__(self, registry: Registry, twins: Twins) -> None:
        self._registry = registry
        self._twins = twins

    def apply(self, device_id: str, content: Mapping[str, Settings]) -> None:
        """Put a content on an edge device; modules that it names are registered.

        Raises: HubError 400, 403, 404, 413.
        """
        device = self._registry.device(device_id)
        if not device.edge:
            raise HubError(400, "ArgumentInvalid", f"{device_id} is no edge device")
        for module_id, settings in content.items():
            self.ensure_module(device_id, module_id)
            self.put(Identity(device_id, module_id), (), settings)

    def ensure_module(self, device_id: str, module_id: str) -> None:
        """Register a module of an edge device if it is missing. Raises: HubError 403."""
        if self._registry.store.module(device_id, module_id) is None:
            keys = self._registry.fresh_keys()
            self._registry.put_module(Module(device_id, module_id, keys, managed_by="IotEdge"))

    def put(self, identity: Identity, former: Iterable[Path], wanted: Settings) -> None:
        """Take settings out of a twin and put others in; what is so already is not touched.

        Raises: HubError 404, 413.
        """
        current = self._twins.get(identity).desired.properties
        self._twins.set_desired(identity, settled(current, former, wanted))


def _parts(section: Properties, what: str) -> Settings:
    settings: list[Setting] = []
    for key, value in section.items():
        start, _, path = key.partition(f"{WHOLE}.")
        names = tuple(path.split("."))
        if start or not all(names):
            raise bad_argument(f"{key!r} in {what} is not known, expected {WHOLE}[.NAME…]")
        for other, _ in settings:
            if _overlap(names, other):
                place = "below" if len(names) > len(other) else "above"
                raise bad_argument(f"{key!r} in {what} lies {place} another key")
        settings.append((names, value))
    return settings


def _overlap(one: Path, other: Path) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _with(document: Properties, path: Path, value: object) -> dict[str, object]:
    if not path:
        return wire.merge({}, value) if isinstance(value, Mapping) else {}
    name, rest = path[0], path[1:]
    if not rest:
        return wire.merge(_without(document, path), {name: value})
    former = document.get(name)
    return {**document, name: _with(former if isinstance(former, Mapping) else {}, rest, value)}


def _without(document: Properties, path: Path) -> dict[str, object]:
    if not path:
        return {}
    name, rest = path[0], path[1:]
    left = dict(document)
    inner = left.get(name)
    if rest and isinstance(inner, Mapping):
        kept = _without(inner, rest)
        if kept or not inner:
            return {**left, name: kept}
    if not rest or isinstance(inner, Mapping):
        left.pop(name, None)
    return left


def _check(properties: Properties) -> None:
    try:
        wire.check(properties, "desired")
    except wire.TwinError as error:
        raise bad_argument(str(error)) from error
    size = wire.size_bytes(properties)
    if size > wire.MAX_BYTES:
        raise HubError(
            413, "RequestEntityTooLarge", f"desired has {size} bytes, expected {wire.MAX_BYTES}"
        )


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise bad_argument(f"{what} is not a JSON object")
    return value
