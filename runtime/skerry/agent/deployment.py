"""From a deployment manifest to modules, each checked by itself.

A module that cannot be used is refused with its reason and the others go on; only a manifest that
is not one at all is refused whole. Shapes are upstream's: createOptions as a JSON string, an
object, or chunks (`createOptions`, `createOptions01`, …) that are put together in order.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TypeVar

from skerry.agent.errors import DeploymentError
from skerry.agent.model import (
    AGENT_MODULE,
    MAX_STARTUP_ORDER,
    Deployment,
    RestartPolicy,
    Status,
    Wanted,
)

_SCHEMA = re.compile(r"1\.[01](\.\d+)?")
_CHUNKS = 100
_PULL_POLICIES = ("on-create", "never")
_AGENT = "$edgeAgent"
_Choice = TypeVar("_Choice", Status, RestartPolicy)


def parse_deployment(document: object) -> Deployment:
    """Return the modules of a manifest; raises DeploymentError when it is none.

    The agent itself is left out: edged looks after it.
    """
    desired = _desired(document)
    wanted: dict[str, Wanted] = {}
    refused: dict[str, str] = {}
    for section in ("systemModules", "modules"):
        for name, entry in _table(desired, section).items():
            if name == AGENT_MODULE:
                continue
            try:
                wanted[name] = _module(name, entry)
            except DeploymentError as error:
                refused[name] = str(error)
    _refuse_bad_dependencies(wanted, refused)
    return Deployment(wanted, refused)


def spec_digest(module: Wanted) -> str:
    """Return the digest of what a container is created from; status and order are not in it."""
    fields = asdict(module)
    for name in ("status", "restart_policy", "startup_order", "depends_on", "version"):
        del fields[name]
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _desired(document: object) -> Mapping[str, object]:
    content = _table(document, "modulesContent")
    properties = content.get(_AGENT)
    desired = _table(properties, "properties.desired")
    version = desired.get("schemaVersion")
    if not isinstance(version, str) or not _SCHEMA.fullmatch(version):
        raise DeploymentError(f"schemaVersion is {version!r}, expected '1.0' or '1.1'")
    return desired


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
    kind = entry.get("type", "docker")
    if kind != "docker":
        raise DeploymentError(f"type is {kind!r}, expected 'docker'")
    policy = entry.get("imagePullPolicy", "on-create")
    if policy not in _PULL_POLICIES:
        raise DeploymentError(f"imagePullPolicy is {policy!r}, expected 'on-create' or 'never'")
    return Wanted(
        name=name,
        image=image.strip(),
        create_options=_create_options(settings),
        env=_env(entry),
        status=_choice(entry, "status", Status, Status.RUNNING),
        restart_policy=_choice(entry, "restartPolicy", RestartPolicy, RestartPolicy.ALWAYS),
        startup_order=_order(entry),
        depends_on=_names(entry, "dependsOn"),
        pull_policy=str(policy),
        version=str(entry.get("version", "")),
    )


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


def _env(entry: Mapping[str, object]) -> dict[str, str]:
    found = {}
    for name, holder in _table(entry, "env").items():
        value = holder.get("value") if isinstance(holder, dict) else None
        if not isinstance(value, str):
            raise DeploymentError(f'env.{name} is {holder!r}, expected {{"value": "…"}}')
        found[name] = value
    return found


def _create_options(settings: Mapping[str, object]) -> Mapping[str, object]:
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
    """Refuse modules whose dependencies are missing, refused, or go round in a circle."""
    remaining = dict(wanted)
    ordered: set[str] = set()
    while ready := [n for n, m in remaining.items() if set(m.depends_on) <= ordered]:
        ordered.update(ready)
        for name in ready:
            del remaining[name]
    for name, module in remaining.items():
        unknown = [other for other in module.depends_on if other not in wanted]
        if unknown:
            refused[name] = f"dependsOn names {unknown[0]!r}, which is not a usable module"
        else:
            refused[name] = "dependsOn goes round in a circle or leads to a refused module"
        del wanted[name]
