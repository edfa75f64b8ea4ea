"""edged's settings, upstream's schema, complete and typed.

`connect` and `listen` have one possible value each in this version, which `skerry config check`
sees to, so they are not looked at here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from enum import StrEnum
from typing import TypeVar

from skerry.base.errors import SettingsError
from skerry.certs.renewal import RenewalPolicy, parse_policy
from skerry.engine.model import RegistryAuth
from skerry.workloads.spelling import spelled_options
from skerry.workloads.times import duration_seconds
from skerry.workloads.trust import Rule

EDGE_CA = "aziot-edged-ca"
_UNIX = "unix://"
_DAY_SECONDS = 86400
_T = TypeVar("_T", bound=StrEnum)


class ReprovisioningMode(StrEnum):
    """When the device is provisioned again."""

    DYNAMIC = "Dynamic"
    ALWAYS_ON_STARTUP = "AlwaysOnStartup"
    ON_ERROR_ONLY = "OnErrorOnly"


class PullPolicy(StrEnum):
    """Whether an image may be fetched from its registry."""

    ON_CREATE = "on-create"
    NEVER = "never"


@dataclass(frozen=True)
class AgentSettings:
    """The agent's container as config.toml has it."""

    name: str
    image: str
    pull_policy: PullPolicy
    create_options: Mapping[str, object]
    auth: RegistryAuth | None
    env: Mapping[str, str]


@dataclass(frozen=True)
class EdgeCaSettings:
    """The edge CA: `issued` by certd, or brought along; `subject` where it is not the default."""

    issued: bool
    auto_renew: RenewalPolicy = field(default_factory=RenewalPolicy)
    subject: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkSettings:
    """The network of the modules; `ipam` in the engine's own JSON."""

    name: str
    ipv6: bool = False
    ipam: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class CollectionSettings:
    """When images that nobody uses are removed: every so many days at a local time."""

    enabled: bool = True
    every_days: int = 1
    age_seconds: int = 7 * _DAY_SECONDS
    at: time = time()


@dataclass(frozen=True)
class Settings:
    """Everything that edged.toml says."""

    hostname: str
    agent: AgentSettings
    edge_ca: EdgeCaSettings
    network: NetworkSettings
    moby_uri: str
    trust_bundle_cert: str | None
    manifest_trust_bundle_cert: str | None
    reprovisioning: ReprovisioningMode
    elevated_permissions: bool
    max_retries: int | None
    management_requests: int
    workload_requests: int
    additional_info: Mapping[str, str] = field(default_factory=dict)
    collection: CollectionSettings = field(default_factory=CollectionSettings)
    image_trust: tuple[Rule, ...] = ()


def parse_settings(table: Mapping[str, object]) -> Settings:
    """Turn the merged settings table into Settings; raises SettingsError."""
    limits = _table(table, "iotedge_max_requests")
    moby = _table(table, "moby_runtime")
    return Settings(
        hostname=_text(table, "hostname"),
        agent=_agent(_table(table, "agent")),
        edge_ca=_edge_ca(_table(table, "edge_ca")),
        network=_network(moby.get("network", "azure-iot-edge")),
        moby_uri=_moby_uri(moby),
        trust_bundle_cert=_optional(table, "trust_bundle_cert"),
        manifest_trust_bundle_cert=_optional(table, "manifest_trust_bundle_cert"),
        reprovisioning=_choice(
            ReprovisioningMode, "auto_reprovisioning_mode", table, ReprovisioningMode.DYNAMIC
        ),
        elevated_permissions=_flag(table, "allow_elevated_docker_permissions", default=True),
        max_retries=_retries(_table(table, "watchdog").get("max_retries", "infinite")),
        management_requests=_count(limits, "management", 50),
        workload_requests=_count(limits, "workload", 10),
        additional_info=_strings(_table(table, "additional_info"), "additional_info"),
        collection=_collection(_table(table, "image_garbage_collection")),
        image_trust=_image_trust(table.get("image_trust", [])),
    )


def _image_trust(rules: object) -> tuple[Rule, ...]:
    found = []
    for rule in rules if isinstance(rules, list) else [rules]:
        given = rule if isinstance(rule, dict) else {}
        images, keys = given.get("images"), given.get("keys")
        if not isinstance(images, str) or not isinstance(keys, list):
            raise SettingsError("image_trust is no array of tables with images and keys")
        found.append(Rule(images, tuple(map(str, keys))))
    return tuple(found)


def _agent(agent: Mapping[str, object]) -> AgentSettings:
    config = _table(agent, "config")
    kind = _text(agent, "type", "agent.")
    if kind != "docker":
        raise SettingsError(f"agent.type is {kind!r}, expected 'docker'")
    auth = _strings(_table(config, "auth"), "agent.config.auth")
    return AgentSettings(
        name=_text(agent, "name", "agent."),
        image=_text(config, "image", "agent.config."),
        pull_policy=_choice(PullPolicy, "imagePullPolicy", agent, PullPolicy.ON_CREATE),
        create_options=_create_options(config),
        auth=RegistryAuth(auth) if auth else None,
        env=_strings(_table(agent, "env"), "agent.env"),
    )


def _create_options(config: Mapping[str, object]) -> dict[str, object]:
    try:
        return spelled_options(_table(config, "createOptions"))
    except ValueError as error:
        raise SettingsError(f"agent.config.createOptions: {error}") from error


def _edge_ca(ca: Mapping[str, object]) -> EdgeCaSettings:
    renew = ca.get("auto_renew")
    if renew is None:
        # upstream's schema has no other sign of it: what is brought along is never renewed
        return EdgeCaSettings(issued="cert" not in ca)
    name = _optional(ca, "common_name")
    subject = _strings(_table(ca, "subject"), "edge_ca.subject") or ({"CN": name} if name else {})
    return EdgeCaSettings(True, parse_policy(renew, "edge_ca.auto_renew"), subject)


def _collection(table: Mapping[str, object]) -> CollectionSettings:
    where = "image_garbage_collection."
    known = CollectionSettings()
    recurrence = _duration(table, "cleanup_recurrence", where, known.every_days * _DAY_SECONDS)
    if recurrence < _DAY_SECONDS or recurrence % _DAY_SECONDS:
        raise SettingsError(f"{where}cleanup_recurrence is not a number of whole days")
    text = table.get("cleanup_time", "00:00")
    try:
        at = time.fromisoformat(str(text))
    except ValueError as error:
        message = f"{where}cleanup_time is {text!r}, expected a time of day such as '23:30'"
        raise SettingsError(message) from error
    return CollectionSettings(
        enabled=_flag(table, "enabled", default=known.enabled),
        every_days=recurrence // _DAY_SECONDS,
        age_seconds=_duration(table, "image_age_cleanup_threshold", where, known.age_seconds),
        at=at,
    )


def _duration(table: Mapping[str, object], name: str, where: str, default: int) -> int:
    if name not in table:
        return default
    seconds = duration_seconds(str(table[name]))
    if seconds is None:
        raise SettingsError(f"{where}{name} is {table[name]!r}, expected '1d', '36h' or '7 days'")
    return seconds


def _network(value: object) -> NetworkSettings:
    if isinstance(value, str) and value:
        return NetworkSettings(value)
    if not isinstance(value, dict):
        raise SettingsError(f"moby_runtime.network is {value!r}, expected a name or a table")
    where = "moby_runtime.network."
    ipam = _table(value, "ipam").get("config", [])
    if not isinstance(ipam, list) or not all(isinstance(entry, dict) for entry in ipam):
        raise SettingsError(f"{where}ipam.config is {ipam!r}, expected an array of tables")
    names = {"gateway": "Gateway", "subnet": "Subnet", "ip_range": "IPRange"}
    return NetworkSettings(
        name=_text(value, "name", where),
        ipv6=_flag(value, "ipv6", default=False),
        ipam=tuple({names[k]: str(v) for k, v in entry.items() if k in names} for entry in ipam),
    )


def _moby_uri(moby: Mapping[str, object]) -> str:
    uri = moby.get("uri", "unix:///var/run/docker.sock")
    if not isinstance(uri, str) or not uri.startswith(_UNIX + "/"):
        raise SettingsError(f"moby_runtime.uri is {uri!r}, expected unix:///path/of/the/socket")
    return uri


def _retries(value: object) -> int | None:
    if isinstance(value, str) and value.lower() == "infinite":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise SettingsError(f"watchdog.max_retries is {value!r}, expected 'infinite' or a number")


def _table(table: Mapping[str, object], name: str) -> dict[str, object]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise SettingsError(f"{name} is {value!r}, expected a table")
    return value


def _text(table: Mapping[str, object], name: str, where: str = "") -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{where}{name} is {value!r}, expected a text that is not empty")
    return value


def _optional(table: Mapping[str, object], name: str) -> str | None:
    return None if name not in table else _text(table, name)


def _flag(table: Mapping[str, object], name: str, *, default: bool) -> bool:
    value = table.get(name, default)
    if not isinstance(value, bool):
        raise SettingsError(f"{name} is {value!r}, expected true or false")
    return value


def _count(table: Mapping[str, object], name: str, default: int) -> int:
    value = table.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"iotedge_max_requests.{name} is {value!r}, expected at least 1")
    return value


def _strings(table: Mapping[str, object], where: str) -> dict[str, str]:
    for name, value in table.items():
        if not isinstance(value, str):
            raise SettingsError(f"{where}.{name} is {value!r}, expected a text")
    return {name: str(value) for name, value in table.items()}


def _choice(kind: type[_T], name: str, table: Mapping[str, object], default: _T) -> _T:
    value = table.get(name, default)
    try:
        return kind(str(value))
    except ValueError as error:
        known = ", ".join(repr(str(member)) for member in kind)
        raise SettingsError(f"{name} is {value!r}, expected one of {known}") from error
