"""What the hub shall do: the desired properties of `$edgeHub`, parsed whole or refused whole.

Pure. A bad route is named and refuses the set, so that the former set stays in force. Source:
azure-iot-edge.md §6.1, §6.2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from skerry.hub.errors import DesiredError, RouteError
from skerry.hub.routes.model import Message as Seen
from skerry.hub.routes.route import Route, parse_route
from skerry.hub.store.model import DEFAULT_PRIORITY, UPSTREAM, FullPolicy, Target

_NAME = re.compile(r"[^.$# ]+")
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.\d+)?")
_MAJOR, _LAST_MINOR = 1, 3
_LAST_PRIORITY = 9
_MAX_TTL = 2**32 - 1
_MOST_TTL = 2**31 - 1  # of all messages: upstream's is signed
_OBJECTS_MINOR, _BROKER_MINOR, _INTEGRITY_MINOR = 1, 2, 3
_POLICIES = {
    "refuse": FullPolicy.REJECT_NEW,
    "drop-oldest-lowest-priority": FullPolicy.DROP_OLDEST,
}


@dataclass(frozen=True)
class NamedRoute:
    """A route with its place among the others; `ttl_seconds` None: as all."""

    name: str
    route: Route
    priority: int = DEFAULT_PRIORITY
    ttl_seconds: float | None = None


@dataclass(frozen=True)
class Desired:
    """The hub's settings from twin or deployment; `ttl_seconds` None: messages wait for ever."""

    routes: tuple[NamedRoute, ...] = ()
    ttl_seconds: float | None = None
    max_bytes: int | None = None
    when_full: FullPolicy = FullPolicy.REJECT_NEW

    def targets(self, message: Seen, device_id: str) -> list[Target]:
        """Return where a message goes: each endpoint once, by its best route."""
        found: dict[str, Target] = {}
        for named in self.routes:
            if not named.route.matches(message):
                continue
            endpoint = _endpoint(named.route, device_id)
            former = found.get(endpoint)
            if former is None or named.priority < former.priority:
                ttl = self.ttl_seconds if named.ttl_seconds is None else named.ttl_seconds
                found[endpoint] = Target(endpoint, named.priority, ttl)
        return list(found.values())


def parse_desired(document: object, *, has_cloud: bool = True) -> Desired:
    """Parse the desired properties. Raises: DesiredError that names what is wrong, all of it.

    Without a cloud a route to `$upstream` is wrong.
    """
    if not isinstance(document, Mapping):
        raise DesiredError(["the desired properties are not a JSON object"])
    problems: list[str] = []
    minor = _minor_version(document.get("schemaVersion"), problems)
    _check_without_effect(document, minor, problems)
    store = document.get("storeAndForwardConfiguration")
    if not isinstance(store, Mapping):
        problems.append("'storeAndForwardConfiguration' is missing, expected an object")
        store = {}
    ttl = store.get("timeToLiveSecs", 7200)
    if not _is_number(ttl) or not -_MOST_TTL - 1 <= ttl <= _MOST_TTL:
        problems.append(f"'timeToLiveSecs' is {ttl!r}, expected a whole number of seconds")
        ttl = 0
    routes = _routes(document.get("routes", {}), minor, problems)
    problems += [
        f"route {named.name!r} leads to $upstream, and this device has no cloud"
        for named in routes
        if not has_cloud and named.route.sink.module is None
    ]
    max_bytes = _max_bytes(store.get("storeLimits"), problems)
    policy = _policy(store.get("whenFull"), problems)
    if problems:
        raise DesiredError(problems)
    return Desired(routes, float(ttl) if ttl >= 0 else None, max_bytes, policy)


def _minor_version(version: object, problems: list[str]) -> int:
    """Return the minor version of the schema; the last one when it is none."""
    found = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if found is None or int(found[1]) != _MAJOR or int(found[2]) > _LAST_MINOR:
        problems.append(f"'schemaVersion' is {version!r}, expected 1.0 to 1.{_LAST_MINOR}")
        return _LAST_MINOR
    return int(found[2])


def _check_without_effect(document: Mapping[str, object], minor: int, problems: list[str]) -> None:
    """Check what upstream reads and does nothing with; older schemas do not know it."""
    if minor >= _BROKER_MINOR and document.get("mqttBroker") is not None:
        broker = document["mqttBroker"]
        for name in ("authorizations", "bridges"):
            found = broker.get(name) if isinstance(broker, Mapping) else broker
            if found is None and isinstance(broker, Mapping):
                continue
            if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
                problems.append(f"'mqttBroker' has {name!r} that is not a list of objects")
    integrity = document.get("integrity")
    if minor >= _INTEGRITY_MINOR and not isinstance(integrity, Mapping | None):
        problems.append("'integrity' is not an object")


def _routes(routes: object, minor: int, problems: list[str]) -> tuple[NamedRoute, ...]:
    if not isinstance(routes, Mapping):
        problems.append("'routes' is not an object")
        return ()
    found = (_route(name, value, minor, problems) for name, value in sorted(routes.items()))
    return tuple(named for named in found if named is not None)


def _route(name: str, value: object, minor: int, problems: list[str]) -> NamedRoute | None:
    if not _NAME.fullmatch(name):
        problems.append(f"route {name!r} must not have '.', '$', '#' or a blank in its name")
        return None
    if isinstance(value, Mapping) and minor < _OBJECTS_MINOR:
        problems.append(f"route {name!r} is an object, which takes 'schemaVersion' 1.1; use a text")
        return None
    table = value if isinstance(value, Mapping) else {"route": value}
    text = table.get("route")
    if value is None or (isinstance(text, str) and not text.strip()):
        return None  # how a route is taken out of a twin
    priority, ttl = table.get("priority", DEFAULT_PRIORITY), table.get("timeToLiveSecs", 0)
    before = len(problems)
    if not isinstance(text, str):
        problems.append(f"route {name!r} is {text!r}, expected a text")
        text = ""
    if not _is_number(priority) or not (
        priority == DEFAULT_PRIORITY or 0 <= priority <= _LAST_PRIORITY
    ):
        problems.append(f"route {name!r} has the priority {priority!r}, expected 0 to 9")
        priority = DEFAULT_PRIORITY
    if not _is_number(ttl) or not 0 <= ttl <= _MAX_TTL:
        problems.append(f"route {name!r} has 'timeToLiveSecs' {ttl!r}, expected 0 to {_MAX_TTL}")
        ttl = 0
    if len(problems) > before:
        return None
    try:
        return NamedRoute(name, parse_route(text), priority, float(ttl) if ttl else None)
    except RouteError as error:
        problems.append(f"route {name!r}: {error}")
        return None


def _max_bytes(limits: object, problems: list[str]) -> int | None:
    if limits is None:
        return None
    found = limits.get("maxSizeBytes") if isinstance(limits, Mapping) else limits
    if not _is_number(found) or found <= 0:
        problems.append(f"'maxSizeBytes' is {found!r}, expected a whole number of bytes above 0")
        return None
    return int(found)


def _policy(text: object, problems: list[str]) -> FullPolicy:
    if text is None:
        return FullPolicy.REJECT_NEW
    policy = _POLICIES.get(text) if isinstance(text, str) else None
    if policy is None:
        problems.append(f"'whenFull' is {text!r}, expected {' or '.join(map(repr, _POLICIES))}")
    return policy or FullPolicy.REJECT_NEW


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _endpoint(route: Route, device_id: str) -> str:
    sink = route.sink
    return UPSTREAM if sink.module is None else f"{device_id}/{sink.module}/{sink.input}"
