"""From a deployment manifest to modules, each checked by itself.

A module that cannot be used is refused with its reason and the others go on; only a manifest that
is not one at all is refused whole. Shapes are upstream's: createOptions as a JSON string, an
object, or chunks (`createOptions`, `createOptions01`, …) that are put together in order.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from skerry.agent.errors import DeploymentError, SchemaVersionError
from skerry.agent.model import (
    AGENT_MODULE,
    MAX_STARTUP_ORDER,
    TRIAL_SECONDS,
    Deployment,
    Readiness,
    ReadinessKind,
    RestartPolicy,
    Status,
    Wanted,
)
from skerry.base.secret_file import is_name

_SCHEMA = re.compile(r"1\.[01](\.\d+)?")
_UPSTREAM_IMAGE = re.compile(r"\$upstream:[1-9][0-9]*/")
"""edged puts the parent's name in its place."""
_CHUNKS = 100
_LONGEST_SECONDS = 86400
_MAX_PORT = 65535
_PULL_POLICIES = ("on-create", "never")
_AGENT = "$edgeAgent"
_CREDENTIAL = ("address", "username", "password")
_SIGNATURE = ("payload", "signature")
_DEFAULT_REGISTRY = "docker.io"
_Choice = TypeVar("_Choice", Status, RestartPolicy)


def parse_deployment(document: object, context: str = "") -> Deployment:
    """Return the modules of a manifest; raises DeploymentError when it is none.

    `context` is noted in every module. The agent's own entry is kept apart: edged looks after it.
    """
    desired = _desired(document)
    credentials = _credentials(desired)
    wanted: dict[str, Wanted] = {}
    refused: dict[str, str] = {}
    agent: Mapping[str, object] = {}
    for section in ("systemModules", "modules"):
        for name, entry in _table(desired, section).items():
            if name == AGENT_MODULE:
                agent = entry if isinstance(entry, dict) else {}
                continue
            try:
                module = _module(name, entry)
            except DeploymentError as error:
                refused[name] = str(error)
                continue
            auth = credentials.get(registry_of(module.image))
            wanted[name] = replace(module, context=context, auth=auth)
    _refuse_bad_dependencies(wanted, refused)
    version = desired.get("$version", 0)
    trial = _seconds(desired, "trialSeconds", TRIAL_SECONDS)
    return Deployment(
        wanted,
        refused,
        agent,
        runtime=_runtime(desired),
        version=version if isinstance(version, int) else 0,
        trial_seconds=trial,
    )


def deployment_digest(document: object) -> str:
    """Return the digest of what a manifest asks of the agent: its version is no part of it."""
    basis: object = document
    if isinstance(document, dict):
        content = document.get("modulesContent")
        agent = content.get(_AGENT) if isinstance(content, dict) else None
        desired = agent.get("properties.desired") if isinstance(agent, dict) else None
        if isinstance(desired, dict):
            basis = {name: value for name, value in desired.items() if not name.startswith("$")}
    text = json.dumps(basis, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def images(document: Mapping[str, object]) -> set[str]:
    """Return every image that a manifest names, as far as it can be read."""
    found = set()
    try:
        desired = _table(_table(document, "modulesContent").get(_AGENT), "properties.desired")
        for section in ("systemModules", "modules"):
            for entry in _table(desired, section).values():
                image = _table(entry, "settings").get("image")
                if isinstance(image, str) and image.strip():
                    found.add(_with_tag(image.strip()))
    except DeploymentError:
        return found
    return found


def port_conflicts(deployment: Deployment) -> list[str]:
    """Return which modules that shall run would publish the same port of the host."""
    taken: dict[tuple[str, str], str] = {}
    found = []
    for name, module in sorted(deployment.modules.items()):
        if module.status is not Status.RUNNING:
            continue
        for port in _host_ports(module.create_options):
            other = taken.setdefault(port, name)
            if other != name:
                found.append(f"modules {other!r} and {name!r} both publish port {'/'.join(port)}")
    return found


def _host_ports(options: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    host = options.get("HostConfig")
    bindings = host.get("PortBindings") if isinstance(host, dict) else None
    for inside, holders in (bindings if isinstance(bindings, dict) else {}).items():
        for holder in holders if isinstance(holders, list) else []:
            port = holder.get("HostPort") if isinstance(holder, dict) else None
            if port:
                yield str(port), str(inside).partition("/")[2] or "tcp"


def spec_digest(module: Wanted) -> str:
    """Return the digest of what a container is made of: what differs here needs another one."""
    basis: list[object] = [module.image, module.create_options, module.env, module.context]
    if module.secrets:
        basis.append(module.secrets)
    text = json.dumps(basis, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def registry_of(image: str) -> str:
    """Return the registry of an image, lower case: a first part with a dot or a port, by Docker."""
    first, slash, _ = image.partition("/")
    named = bool(slash) and (first == "localhost" or "." in first or ":" in first)
    return first.lower() if named else _DEFAULT_REGISTRY


def _desired(document: object) -> Mapping[str, object]:
    content = _table(document, "modulesContent")
    desired = _table(content.get(_AGENT), "properties.desired")
    version = desired.get("schemaVersion")
    if not isinstance(version, str) or not _SCHEMA.fullmatch(version):
        raise SchemaVersionError(f"schemaVersion is {version!r}, expected '1.0' or '1.1'")
    return desired


def _credentials(desired: Mapping[str, object]) -> dict[str, Mapping[str, str]]:
    """Return the credentials by registry, as the management API takes them."""
    found: dict[str, Mapping[str, str]] = {}
    given = _table(_table(_table(desired, "runtime"), "settings"), "registryCredentials")
    for name, entry in given.items():
        fields = [entry.get(key) for key in _CREDENTIAL] if isinstance(entry, dict) else []
        address, username, password = fields or [None, None, None]
        if not (isinstance(address, str) and isinstance(username, str)):
            raise DeploymentError(f"registryCredentials.{name} needs address and username")
        auth = {"serveraddress": address, "username": username}
        found[address.lower()] = auth | ({"password": password} if password else {})
    return found


def _runtime(desired: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of the runtime as they are reported: upstream adds the passwords."""
    given = _table(_table(desired, "runtime"), "settings")
    found = {name: given[name] for name in ("minDockerVersion", "loggingOptions") if name in given}
    credentials = {
        name: {key: entry[key] for key in ("address", "username") if key in entry}
        for name, entry in _table(given, "registryCredentials").items()
        if isinstance(entry, dict)
    }
    return found | ({"registryCredentials": credentials} if credentials else {})


def _table(holder: object, name: str) -> Mapping[str, object]:
    if not isinstance(holder, dict):
        raise DeploymentError(f"the holder of {name} is not an object")
    value = holder.get(name, {})
    if not isinstance(value, dict):
        raise DeploymentError(f"{name} is {type(value).__name__}, expected an object")
    return value


def _module(name: str, entry: object) -> Wanted:
    if not isinstance(entry, dict):
        raise DeploymentError(f"module {name} is {type(entry).__name__}, expected an object")
    settings = _table(entry, "settings")
    image = settings.get("image")
    if not isinstance(image, str) or not image.strip():
        raise DeploymentError(f"settings.image is {image!r}, expected an image reference")
    if image.strip().startswith("$") and not _UPSTREAM_IMAGE.match(image.strip()):
        raise DeploymentError(
            f"settings.image is {image!r}; an image of the parent gateway is '$upstream:PORT/…'"
        )
    kind = entry.get("type", "docker")
    if kind != "docker":
        raise DeploymentError(f"type is {kind!r}, expected 'docker'")
    policy = entry.get("imagePullPolicy", "on-create")
    if policy not in _PULL_POLICIES:
        raise DeploymentError(f"imagePullPolicy is {policy!r}, expected 'on-create' or 'never'")
    return Wanted(
        name=name,
        image=_with_tag(image.strip()),
        create_options=create_options(settings),
        env=_env(entry),
        status=_choice(entry, "status", Status, Status.RUNNING),
        restart_policy=_choice(entry, "restartPolicy", RestartPolicy, RestartPolicy.ALWAYS),
        startup_order=_order(entry),
        depends_on=_names(entry, "dependsOn"),
        pull_policy=str(policy),
        version=str(entry.get("version", "")),
        readiness=_readiness(entry),
        secrets=_secrets(entry),
        signatures=_signatures(entry),
    )


def _readiness(entry: Mapping[str, object]) -> Readiness | None:
    if "readiness" not in entry:
        return None
    table = _table(entry, "readiness")
    known = ", ".join(ReadinessKind)
    try:
        kind = ReadinessKind(str(table.get("type")))
    except ValueError as error:
        raise DeploymentError(
            f"readiness.type is {table.get('type')!r}, expected one of {known}"
        ) from error
    port, path, pattern = (table.get(key) for key in ("port", "path", "pattern"))
    needs_port = kind in (ReadinessKind.TCP, ReadinessKind.HTTP)
    if needs_port and (not isinstance(port, int) or not 1 <= port <= _MAX_PORT):
        raise DeploymentError(f"readiness.port is {port!r}, expected 1 to {_MAX_PORT}")
    if kind is ReadinessKind.LOG:
        _check_pattern(pattern)
    if path is not None and not (isinstance(path, str) and path.startswith("/")):
        raise DeploymentError(f"readiness.path is {path!r}, expected one that begins with '/'")
    return Readiness(
        kind,
        port if isinstance(port, int) else 0,
        str(path or "/"),
        str(pattern or ""),
        _seconds(table, "timeoutSeconds", Readiness.timeout_seconds),
    )


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str) or not pattern:
        raise DeploymentError(f"readiness.pattern is {pattern!r}, expected a regular expression")
    try:
        re.compile(pattern)
    except re.error as error:
        raise DeploymentError(f"readiness.pattern {pattern!r} is not one: {error}") from error


def _seconds(table: Mapping[str, object], name: str, default: float) -> float:
    value = table.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 <= float(str(value)) <= _LONGEST_SECONDS):
        raise DeploymentError(f"{name} is {value!r}, expected 0 to {_LONGEST_SECONDS} seconds")
    return float(str(value))


def _with_tag(image: str) -> str:
    """Return an image with a tag or digest; without either it is the latest, as upstream has it."""
    name = image.rpartition("/")[2]
    return image if ":" in name or "@" in name else f"{image}:latest"


def _choice(
    entry: Mapping[str, object], name: str, kind: type[_Choice], default: _Choice
) -> _Choice:
    value = entry.get(name, default.value)
    try:
        return kind(str(value))
    except ValueError as error:
        known = ", ".join(kind)
        raise DeploymentError(f"{name} is {value!r}, expected one of {known}") from error


def _order(entry: Mapping[str, object]) -> int:
    value = entry.get("startupOrder", MAX_STARTUP_ORDER)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_STARTUP_ORDER:
        raise DeploymentError(f"startupOrder is {value!r}, expected 0 to {MAX_STARTUP_ORDER}")
    return value


def _names(entry: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DeploymentError(f"{name} is {value!r}, expected a list of module names")
    return tuple(value)


def _secrets(entry: Mapping[str, object]) -> tuple[str, ...]:
    value = entry.get("secrets", [])
    if not isinstance(value, list) or not all(isinstance(n, str) and is_name(n) for n in value):
        raise DeploymentError(f"secrets is {value!r}, expected a list of names of secrets")
    return tuple(value)


def _signatures(entry: Mapping[str, object]) -> tuple[Mapping[str, str], ...]:
    value = entry.get("signatures", [])
    found = []
    for one in value if isinstance(value, list) else [None]:
        parts = {name: one.get(name) for name in _SIGNATURE} if isinstance(one, dict) else {}
        if not parts or not all(isinstance(part, str) for part in parts.values()):
            raise DeploymentError(
                'signatures is not a list of {"payload", "signature"}, both base64'
            )
        found.append({name: str(part) for name, part in parts.items()})
    return tuple(found)


def _env(entry: Mapping[str, object]) -> dict[str, str]:
    found = {}
    for name, holder in _table(entry, "env").items():
        value = holder.get("value") if isinstance(holder, dict) else None
        if not isinstance(value, str):
            raise DeploymentError(f'env.{name} is {holder!r}, expected {{"value": "…"}}')
        found[name] = value
    return found


def create_options(settings: Mapping[str, object]) -> Mapping[str, object]:
    """Return the create options of a module's settings; raises DeploymentError."""
    value = settings.get("createOptions")
    if isinstance(value, str):
        chunks = [value]
        for number in range(1, _CHUNKS):
            chunk = settings.get(f"createOptions{number:02}")
            if not isinstance(chunk, str):
                break
            chunks.append(chunk)
        text = "".join(chunks)
        try:
            value = json.loads(text) if text.strip() else None
        except ValueError as error:
            raise DeploymentError(f"createOptions is not JSON: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DeploymentError(f"createOptions is {type(value).__name__}, expected an object")
    return value


def _refuse_bad_dependencies(wanted: dict[str, Wanted], refused: dict[str, str]) -> None:
    """Refuse modules that depend on what is missing, refused or, round a circle, on themselves."""
    remaining = dict(wanted)
    ordered: set[str] = set()
    while ready := [n for n, m in remaining.items() if set(m.depends_on) <= ordered]:
        ordered.update(ready)
        for name in ready:
            del remaining[name]
    reasons = {name: _why_not(module, wanted, refused) for name, module in remaining.items()}
    for name, reason in reasons.items():
        refused[name] = reason
        del wanted[name]


def _why_not(module: Wanted, wanted: Mapping[str, Wanted], refused: Mapping[str, str]) -> str:
    for other in module.depends_on:
        if other not in wanted:
            what = "which is refused" if other in refused else "which is not in the deployment"
            return f"dependsOn names {other!r}, {what}"
    circle = _circle(module.name, wanted)
    if circle is None:
        return "dependsOn leads to a module that is refused"
    return f"dependsOn goes round in a circle: {' -> '.join(circle)}; remove one of them"


def _circle(start: str, wanted: Mapping[str, Wanted]) -> list[str] | None:
    """Return the way from a module through its dependencies back to itself."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for name in wanted[way[-1]].depends_on if way[-1] in wanted else ():
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return None
