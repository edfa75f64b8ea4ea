"""A configuration: whom it targets, what it wants of their twins, and its JSON.

Its content never changes; condition, priority, labels and metrics may. Between two of the same
priority the later one wins, so the rank of a configuration is its priority, then its number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from skerry_lab.configurations.content import Settings, modules_from, section_from
from skerry_lab.query.errors import QueryError
from skerry_lab.query.query import Query, Source, parse_query, parse_target
from skerry_lab.registry.errors import HubError, bad_argument

AGENT_MODULE = "$edgeAgent"
MAX_METRICS = 20

_SCHEMA_VERSION = "1.0"
_MAX_TEXT = 8192
_MAX_LABELS = 64
_MAX_PRIORITY = 2**31 - 1


class Content(StrEnum):
    """Whose twins are changed: devices', modules', or all modules' of an edge device."""

    DEVICE = "deviceContent"
    MODULE = "moduleContent"
    EDGE = "modulesContent"


@dataclass(frozen=True)
class Configuration:
    """A configuration as it is stored; times are RFC 3339, `number` is 0 until it is stored."""

    configuration_id: str
    content: Mapping[str, object]
    target_condition: str = ""
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    updated: str = ""
    etag: str = ""
    number: int = 0

    @property
    def kind(self) -> Content:
        """Which content it has."""
        return next(kind for kind in Content if kind in self.content)

    @property
    def rank(self) -> tuple[int, int]:
        """The greater one wins."""
        return self.priority, self.number

    def sections(self) -> dict[str, Settings]:
        """Return its settings, by module; of a device and of single modules under ``""``."""
        part = self.content[self.kind]
        if self.kind is Content.EDGE:
            return modules_from(part)
        return {"": section_from(part, self.kind)}


def is_layer(sections: Mapping[str, Settings]) -> bool:
    """Tell whether a deployment only adds to another one: it has no whole of the edge agent."""
    return not any(path == () for path, _ in sections.get(AGENT_MODULE, ()))


def target_of(configuration: Configuration) -> Query | None:
    """Return whom it targets, None for nobody. Raises: HubError 400."""
    try:
        query = parse_target(configuration.target_condition)
    except QueryError as error:
        raise HubError(
            400, "InvalidConfigurationTargetCondition", f"the target condition: {error}"
        ) from error
    of_modules = configuration.kind is Content.MODULE
    if query is not None and of_modules is not (query.source is Source.MODULES):
        expected = "'FROM devices.modules WHERE …'" if of_modules else "a condition of devices"
        raise HubError(
            400,
            "InvalidConfigurationTargetCondition",
            f"the target condition does not fit {configuration.kind}, expected {expected}",
        )
    return query


def metric_of(name: str, text: str) -> Query:
    """Return the query of a metric. Raises: HubError 400."""
    try:
        return parse_query(text)
    except QueryError as error:
        raise HubError(
            400, "InvalidConfigurationCustomMetricsQuery", f"metric {name!r}: {error}"
        ) from error


def configuration_from(body: Mapping[str, object], configuration_id: str) -> Configuration:
    """Read and check a configuration from a PUT. Raises: HubError 400, 413."""
    if body.get("id", configuration_id) != configuration_id:
        raise bad_argument(f"id is {body['id']!r}, expected {configuration_id!r} as in the path")
    metrics = body.get("metrics")
    if metrics is not None and not isinstance(metrics, dict):
        raise bad_argument("metrics is not a JSON object")
    configuration = Configuration(
        configuration_id,
        _content(body.get("content")),
        _text(body.get("targetCondition"), "targetCondition"),
        _priority(body.get("priority")),
        texts_from(body.get("labels"), "labels", _MAX_LABELS),
        texts_from((metrics or {}).get("queries"), "metrics.queries", MAX_METRICS),
    )
    configuration.sections()
    target_of(configuration)
    for name, text in configuration.metrics.items():
        metric_of(name, text)
    return configuration


def to_json(
    configuration: Configuration, system: Mapping[str, int], custom: Mapping[str, int]
) -> dict[str, object]:
    """Return a configuration as the REST shows it, with the results of its metrics."""
    return {
        "id": configuration.configuration_id,
        "schemaVersion": _SCHEMA_VERSION,
        "labels": dict(configuration.labels),
        "content": dict(configuration.content),
        "targetCondition": configuration.target_condition,
        "createdTimeUtc": configuration.created,
        "lastUpdatedTimeUtc": configuration.updated,
        "priority": configuration.priority,
        "systemMetrics": {"results": dict(system), "queries": system_queries(configuration)},
        "metrics": {"results": dict(custom), "queries": dict(configuration.metrics)},
        "etag": configuration.etag,
    }


def system_queries(configuration: Configuration) -> dict[str, str]:
    """Return the queries that the results of the system metrics stand for."""
    status = f"configurations.[[{configuration.configuration_id}]].status"
    condition = configuration.target_condition.strip() or "false"
    start = "select deviceId from devices"
    if configuration.kind is Content.MODULE:
        start = "select deviceId, moduleId from devices.modules"
        queries = {
            "targetedCount": f"select deviceId, moduleId {condition}",
            "appliedCount": f"{start} where {status} = 'Applied'",
        }
        return queries if configuration.target_condition.strip() else {
            **queries, "targetedCount": f"{start} where false"
        }  # fmt: skip
    if configuration.kind is Content.DEVICE:
        return {
            "targetedCount": start if condition == "*" else f"{start} where {condition}",
            "appliedCount": f"{start} where {status} = 'Applied'",
        }
    edge = "capabilities.iotEdge = true"
    applied = f"{start}.modules where moduleId = '{AGENT_MODULE}' and {status} = 'Applied'"
    known = "properties.desired.$version = properties.reported.lastDesiredVersion"
    code = "properties.reported.lastDesiredStatus.code"
    limit = "" if condition == "*" else f" and ({condition})"
    return {
        "targetedCount": f"{start} where {edge}{limit}",
        "appliedCount": applied,
        "reportedSuccessfulCount": f"{applied} and {known} and {code} = 200",
        "reportedFailedCount": f"{applied} and {known} and {code} != 200",
    }


def texts_from(value: object, what: str, limit: int) -> dict[str, str]:
    """Read texts by name; null is none. Raises: HubError 400."""
    found = {} if value is None else value
    if not isinstance(found, dict):
        raise bad_argument(f"{what} is not a JSON object")
    if len(found) > limit:
        raise bad_argument(f"{what} has {len(found)} entries, expected at most {limit}")
    return {name: _text(text, f"{what} {name!r}") for name, text in found.items()}


def _content(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _bad_content("content is not a JSON object")
    named = {name: part for name, part in value.items() if part is not None}
    if len(named) != 1 or next(iter(named)) not in list(Content):
        raise _bad_content(
            f"content has {', '.join(map(repr, named)) or 'nothing'}, expected one of "
            f"{', '.join(Content)}"
        )
    return named


def _bad_content(message: str) -> HubError:
    return HubError(400, "InvalidConfigurationContent", message)


def _text(value: object, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise bad_argument(f"{what} is not a text of at most {_MAX_TEXT} characters")
    return value


def _priority(value: object) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_PRIORITY:
        raise bad_argument(f"priority is {value!r}, expected a number from 0 to {_MAX_PRIORITY}")
    return value
