"""What IoT Hub puts into MQTT's names: user names, topics and the bags of properties in them.

Topics are parsed as clients publish them and built as the hub publishes them; lab and edge hub use
both from the same side, the edge agent from the other. Ids of devices and modules are never
percent-encoded, all else is. Sources: azure-iot-edge.md §6.4 and the stock SDKs
(device-sdk-wire.md §4.1, §4.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from skerry.base.errors import SkerryError

METHODS = "$iothub/methods/POST/#"
TWIN_RESPONSES = "$iothub/twin/res/#"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"

SYSTEM_PROPERTIES: Mapping[str, str] = {
    "$.mid": "message-id",
    "$.cid": "correlation-id",
    "$.uid": "user-id",
    "$.to": "to",
    "$.ct": "content-type",
    "$.ce": "content-encoding",
    "$.on": "output-name",
    "$.exp": "expiry-time-utc",
    "$.ctime": "creation-time-utc",
    "$.cdid": "connection-device-id",
    "$.cmid": "connection-module-id",
    "$.schema": "message-schema",
    "$.ifid": "interface-id",
    "$.sub": "component-name",
    "iothub-ack": "ack",
    "ack": "ack",
    "iothub-operation": "operation",
}
"""Name in a topic -> one long name, the same for every protocol; `ack` and `iothub-ack` are one."""

_SHORT = {long: short for short, long in SYSTEM_PROPERTIES.items() if short != "ack"}
_ID = "$rid"
_VERSION = "$version"


class TopicError(SkerryError):
    """A topic, property bag or user name that IoT Hub does not know."""


@dataclass(frozen=True, slots=True)
class UserName:
    """`{host}/{device}[/{module}]/?api-version=…&…`; `options` are the rest of the query.

    `auth_chain` is `target;parent;…;actor` of an edge hub that speaks for another, else empty.
    """

    host: str
    device_id: str
    module_id: str | None
    api_version: str
    options: Mapping[str, str] = field(default_factory=dict)
    auth_chain: str = ""


@dataclass(frozen=True, slots=True)
class Events:
    """A message of a device or module; `bag` is its properties, still encoded."""

    device_id: str
    module_id: str | None
    bag: str


@dataclass(frozen=True, slots=True)
class TwinGet:
    """A client asks for its twin."""

    request_id: str


@dataclass(frozen=True, slots=True)
class ReportedPatch:
    """A client changes its reported properties."""

    request_id: str


@dataclass(frozen=True, slots=True)
class MethodResponse:
    """A client answers a direct method."""

    status: int
    request_id: str


ClientTopic = Events | TwinGet | ReportedPatch | MethodResponse


@dataclass(frozen=True, slots=True)
class TwinResponse:
    """The hub's answer to a twin request; `version` only for a patch that was taken."""

    status: int
    request_id: str
    version: int | None


@dataclass(frozen=True, slots=True)
class DesiredPatch:
    """The hub tells a client of a change of its desired properties."""

    version: int


@dataclass(frozen=True, slots=True)
class MethodCall:
    """The hub calls a direct method."""

    name: str
    request_id: str


HubTopic = TwinResponse | DesiredPatch | MethodCall


def parse_user_name(text: str) -> UserName:
    """Parse the user name of a CONNECT. Raises: TopicError."""
    path, mark, query = text.partition("/?")
    if not mark:
        # some clients leave the question mark out
        path, _, query = path.partition("/api-version=")
        query = f"api-version={query}"
    parts = path.split("/")
    options = dict(parse_qsl(query, keep_blank_values=True))
    version, chain = options.pop("api-version", ""), options.pop("auth-chain", "")
    if len(parts) not in (2, 3) or not all(parts) or not version:
        raise TopicError(
            f"user name {text!r} is not known, expected "
            "'HOST/DEVICE[/MODULE]/?api-version=YYYY-MM-DD'"
        )
    module_id = parts[2] if len(parts) == 3 else None
    return UserName(parts[0], parts[1], module_id, version, options, chain)


def user_name(
    host: str, client_id: str, api_version: str, product: str = "", auth_chain: str = ""
) -> str:
    """Return the user name for a CONNECT of `device` or `device/module`."""
    more = {"DeviceClientType": product, "auth-chain": auth_chain}
    tail = "".join(f"&{name}={quote(value, safe='')}" for name, value in more.items() if value)
    return f"{host}/{client_id}/?api-version={api_version}{tail}"


def parse_client_topic(topic: str) -> ClientTopic:
    """Tell what a client publishes. Raises: TopicError."""
    if topic.startswith("devices/"):
        return _events(topic)
    path, _, query = topic.partition("?")
    if path == "$iothub/twin/GET/":
        return TwinGet(_request_id(topic, query))
    if path == "$iothub/twin/PATCH/properties/reported/":
        return ReportedPatch(_request_id(topic, query))
    start = "$iothub/methods/res/"
    if path.startswith(start):
        return MethodResponse(_status(topic, path[len(start) :]), _request_id(topic, query))
    raise _unknown(topic)


def parse_hub_topic(topic: str) -> HubTopic:
    """Tell what a hub publishes to a client about twins and methods. Raises: TopicError."""
    path, _, query = topic.partition("?")
    if path.startswith("$iothub/twin/res/"):
        version = _query(topic, query).get(_VERSION)
        status = _status(topic, path.removeprefix("$iothub/twin/res/"))
        number = None if version is None else _number(topic, version)
        return TwinResponse(status, _request_id(topic, query), number)
    if path == "$iothub/twin/PATCH/properties/desired/":
        return DesiredPatch(_number(topic, _query(topic, query).get(_VERSION, "")))
    start = "$iothub/methods/POST/"
    name = path.removeprefix(start).rstrip("/")
    if path.startswith(start) and name:
        return MethodCall(unquote(name), _request_id(topic, query))
    raise _unknown(topic)


def twin_get_topic(request_id: str) -> str:
    """Return the topic that asks for a twin; the payload may be empty."""
    return f"$iothub/twin/GET/?$rid={request_id}"


def reported_topic(request_id: str) -> str:
    """Return the topic that changes reported properties."""
    return f"$iothub/twin/PATCH/properties/reported/?$rid={request_id}"


def method_response_topic(status: int, request_id: str) -> str:
    """Return the topic that answers a direct method."""
    return f"$iothub/methods/res/{status}/?$rid={request_id}"


def events_topic(
    device_id: str, module_id: str | None = None, properties: Mapping[str, str] | None = None
) -> str:
    """Return the topic of a message of a device or module."""
    return f"{_prefix(device_id, module_id)}/messages/events/{encode_properties(properties or {})}"


def twin_response_topic(status: int, request_id: str, version: int | None = None) -> str:
    """Return the topic that answers a twin request."""
    tail = "" if version is None else f"&$version={version}"
    return f"$iothub/twin/res/{status}/?$rid={request_id}{tail}"


def desired_topic(version: int) -> str:
    """Return the topic that tells of new desired properties."""
    return f"$iothub/twin/PATCH/properties/desired/?$version={version}"


def method_topic(name: str, request_id: str) -> str:
    """Return the topic that calls a direct method."""
    return f"$iothub/methods/POST/{quote(name, safe='')}/?$rid={request_id}"


def c2d_topic(device_id: str, properties: Mapping[str, str], module_id: str | None = None) -> str:
    """Return the topic of a message to a device or module."""
    return f"{_prefix(device_id, module_id)}/messages/devicebound/{encode_properties(properties)}"


def input_topic(device_id: str, module_id: str, name: str, properties: Mapping[str, str]) -> str:
    """Return the topic of a message to an input of a module."""
    return f"{_prefix(device_id, module_id)}/inputs/{name}/{encode_properties(properties)}"


def encode_properties(properties: Mapping[str, str]) -> str:
    """Return a property bag, `name=value&…`, both percent-encoded, `/` too."""
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in properties.items())


def decode_properties(bag: str) -> dict[str, str]:
    """Parse a property bag; of a name that stands twice the last one counts.

    Raises: TopicError for a bag whose percent encoding is not UTF-8.
    """
    properties = {}
    for part in bag.split("&") if bag else ():
        name, _, value = part.partition("=")
        try:
            properties[unquote(name, errors="strict")] = unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            raise TopicError(f"property {part!r} is not UTF-8 in percent encoding") from error
    return properties


def split_properties(properties: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return system properties by their long names, and the application's."""
    system: dict[str, str] = {}
    own: dict[str, str] = {}
    for name, value in properties.items():
        long = SYSTEM_PROPERTIES.get(name)
        if long is None:
            own[name] = value
        else:
            system[long] = value
    return system, own


def join_properties(system: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return one bag of system properties, by their short names, and the application's."""
    return {**{_SHORT.get(name, name): value for name, value in system.items()}, **own}


def _events(topic: str) -> Events:
    parts = topic.split("/")
    module_id = None
    if len(parts) > 3 and parts[2] == "modules":
        module_id = parts[3]
        del parts[2:4]
    # Some SDKs end the topic with a slash, properties or not.
    if len(parts) == 6 and not parts[5]:
        parts.pop()
    known = len(parts) in (4, 5) and parts[2:4] == ["messages", "events"]
    if not known or not parts[1] or module_id == "":
        raise _unknown(topic)
    return Events(parts[1], module_id, parts[4] if len(parts) == 5 else "")


def _prefix(device_id: str, module_id: str | None) -> str:
    return f"devices/{device_id}" + (f"/modules/{module_id}" if module_id else "")


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _query(topic: str, query: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in query.split("&"))


def _request_id(topic: str, query: str) -> str:
    request_id = _query(topic, query).get(_ID, "")
    if not request_id:
        raise TopicError(f"topic {topic!r} has no '$rid', expected '?$rid=…' at its end")
    return request_id


def _status(topic: str, text: str) -> int:
    return _number(topic, text.rstrip("/"))


def _number(topic: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise TopicError(f"topic {topic!r} holds {text!r} where a number is expected")
    return int(text)


def _unknown(topic: str) -> TopicError:
    return TopicError(f"topic {topic!r} is not one of IoT Hub's")
