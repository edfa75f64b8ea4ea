"""The reported properties, in upstream's shape; a password is never among them."""

import json
from collections.abc import Mapping
from datetime import datetime

from skerry.agent.model import (
    SYSTEM_MODULES,
    Actual,
    Deployment,
    Memory,
    RuntimeStatus,
    Status,
    Wanted,
)

_EMPTY_TIME = "0001-01-01T00:00:00Z"
OK, BAD_FORMAT, NO_DEPLOYMENT, FAILED = 200, 400, 417, 500


def reported(
    deployment: Deployment,
    actual: Mapping[str, Actual],
    states: Mapping[str, RuntimeStatus],
    memory: Mapping[str, Memory],
    status: tuple[int, str],
    version: str,
) -> dict[str, object]:
    """Return what is reported about the last round; `status` is a code and its description."""
    system: dict[str, object] = {}
    modules: dict[str, object] = {}
    for name, module in sorted(deployment.modules.items()):
        entry = _entry(module, actual.get(name), states.get(name), memory.get(name, Memory()))
        (system if name in SYSTEM_MODULES else modules)[name] = entry
    for name, reason in sorted(deployment.refused.items()):
        modules[name] = {"runtimeStatus": "failed", "statusDescription": reason}
    return {
        "schemaVersion": "1.0",
        "version": {"version": version},
        "lastDesiredStatus": {"code": status[0], "description": status[1]},
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": system,
        "modules": modules,
    }


def no_deployment(code: int, reason: str, version: str) -> dict[str, object]:
    """Return what is reported when there is no usable deployment."""
    return reported(Deployment({}), {}, {}, {}, (code, reason), version)


def _entry(
    module: Wanted, found: Actual | None, state: RuntimeStatus | None, known: Memory
) -> dict[str, object]:
    return {
        "type": "docker",
        "status": (Status.RUNNING if module.status is Status.RUNNING else Status.STOPPED).value,
        "restartPolicy": module.restart_policy.value,
        "imagePullPolicy": module.pull_policy,
        "startupOrder": module.startup_order,
        "version": module.version,
        "runtimeStatus": (state or RuntimeStatus.UNKNOWN).value,
        "statusDescription": "" if found is None else found.description,
        "exitCode": 0 if found is None or found.exit_code is None else found.exit_code,
        "lastStartTimeUtc": _time(None if found is None else found.started),
        "lastExitTimeUtc": _time(None if found is None else found.exited),
        "restartCount": known.restarts,
        "lastRestartTimeUtc": _time(known.last_restart),
        "settings": {
            "image": module.image,
            "createOptions": json.dumps(module.create_options, separators=(",", ":")),
        },
        "env": {name: {"value": value} for name, value in module.env.items()},
    }


def _time(moment: datetime | None) -> str:
    return _EMPTY_TIME if moment is None else moment.isoformat().replace("+00:00", "Z")
