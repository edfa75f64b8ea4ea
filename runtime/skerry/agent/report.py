"""The reported properties, in upstream's shape; a password is never among them."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from skerry.agent.model import (
    AGENT_MODULE,
    SYSTEM_MODULES,
    Actual,
    Deployment,
    Memory,
    RuntimeStatus,
    Wanted,
)

OK = 200
BAD_FORMAT = 400
BAD_SCHEMA_VERSION = 412
NO_DEPLOYMENT = 417
FAILED = 500

_CHUNK = 512
_TWIN_BYTES = 32 * 1024
_TEXT_BYTES = 4096
_NEVER = "0001-01-01T00:00:00Z"
_AGENT_KEYS = ("type", "imagePullPolicy", "settings", "env", "version")


@dataclass(frozen=True)
class Round:
    """What a round of the agent saw and found; the deployment is empty when there is none."""

    code: int
    description: str
    deployment: Deployment = field(default_factory=lambda: Deployment({}))
    actual: Mapping[str, Actual] = field(default_factory=dict)
    states: Mapping[str, RuntimeStatus] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, Memory] = field(default_factory=dict)


def reported(seen: Round, version: str) -> dict[str, object]:
    """Return what is reported about a round."""
    system: dict[str, object] = {}
    modules: dict[str, object] = {}
    deployment = seen.deployment
    if deployment.agent:
        system[AGENT_MODULE] = _agent(deployment.agent, seen.actual.get(AGENT_MODULE))
    for name, module in sorted(deployment.modules.items()):
        (system if name in SYSTEM_MODULES else modules)[name] = _module(module, seen)
    for name, reason in sorted(deployment.refused.items()):
        # what runs from a former deployment is left running
        found = seen.actual.get(name)
        entry = {**_runtime(found, reason, RuntimeStatus.FAILED), "type": "docker"}
        (system if name in SYSTEM_MODULES else modules)[name] = entry
    machine = os.uname()
    return {
        "schemaVersion": "1.0",
        "version": {"version": version, "build": "", "commit": ""},
        "lastDesiredVersion": deployment.version,
        "lastDesiredStatus": {"code": seen.code, "description": seen.description},
        "runtime": {
            "type": "docker",
            "settings": dict(deployment.runtime),
            "platform": {
                "os": machine.sysname.lower(),
                "architecture": machine.machine,
                "version": machine.release,
            },
        },
        "systemModules": system,
        "modules": modules,
    }


def fitting(properties: Mapping[str, object]) -> dict[str, Any]:
    """Return what a twin takes of a report: 32 KiB in all, 4 KiB for a text.

    What is left out is what the deployment says anyway: first the environments of the modules, then
    their create options. Whole they are refused by the hub, which then knows nothing at all.
    """
    found: dict[str, Any] = _cut(properties)
    for left_out in _LEFT_OUT:
        if len(json.dumps(found, separators=(",", ":")).encode()) <= _TWIN_BYTES:
            break
        for section in ("systemModules", "modules"):
            modules = found.get(section, {})
            found[section] = {name: left_out(entry) for name, entry in modules.items()}
    return found


def _cut(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _cut(held) for name, held in value.items()}
    if isinstance(value, str) and len(value.encode()) > _TEXT_BYTES:
        return value.encode()[:_TEXT_BYTES].decode(errors="ignore")
    return value


def _without_env(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "env"}


def _without_options(entry: Mapping[str, Any]) -> dict[str, Any]:
    settings = {
        name: value
        for name, value in entry.get("settings", {}).items()
        if not name.startswith("createOptions")
    }
    return {**entry, "settings": settings}


_LEFT_OUT = (_without_env, _without_options)


def _module(module: Wanted, seen: Round) -> dict[str, object]:
    found, known = seen.actual.get(module.name), seen.memory.get(module.name, Memory())
    state = seen.states.get(module.name, RuntimeStatus.UNKNOWN)
    return {
        "type": "docker",
        "status": module.status.value,
        "restartPolicy": module.restart_policy.value,
        "imagePullPolicy": module.pull_policy,
        "startupOrder": module.startup_order,
        "version": module.version,
        **_runtime(found, seen.notes.get(module.name, ""), state),
        "restartCount": known.restarts,
        "lastRestartTimeUtc": _time(known.last_restart),
        "settings": {
            "image": module.image,
            "imageHash": "" if found is None else found.image_id,
            **_create_options(module),
        },
        "env": {name: {"value": value} for name, value in module.env.items()},
    }


def _create_options(module: Wanted) -> dict[str, str]:
    """Return the create options in upstream's chunks: a string of a twin has 4 KiB at most."""
    text = json.dumps(module.create_options, separators=(",", ":"))
    chunks = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    names = ["createOptions", *(f"createOptions{number:02}" for number in range(1, len(chunks)))]
    return dict(zip(names, chunks, strict=True))


def _agent(entry: Mapping[str, object], found: Actual | None) -> dict[str, object]:
    written = {name: entry[name] for name in _AGENT_KEYS if name in entry}
    state = RuntimeStatus.UNKNOWN if found is None else found.status
    note = "" if found is None else found.description
    return {**written, "startupOrder": 0, **_runtime(found, note, state)}


def _runtime(found: Actual | None, note: str, state: RuntimeStatus) -> dict[str, object]:
    return {
        "runtimeStatus": state.value,
        "statusDescription": note,
        "exitCode": 0 if found is None or found.exit_code is None else found.exit_code,
        "lastStartTimeUtc": _time(None if found is None else found.started),
        "lastExitTimeUtc": _time(None if found is None else found.exited),
    }


def _time(moment: datetime | None) -> str:
    return _NEVER if moment is None else moment.isoformat().replace("+00:00", "Z")
