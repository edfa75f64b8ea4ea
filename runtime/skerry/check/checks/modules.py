"""The modules: they run, the deployment is in force, their storage outlives their containers."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from skerry.agent.deployment import parse_deployment, port_conflicts
from skerry.agent.errors import AgentError
from skerry.base.client import ApiError, UnreachableError
from skerry.check.appliance import Appliance
from skerry.check.model import (
    Check,
    Finding,
    Section,
    error,
    ignored,
    ok,
    warning,
    worst,
)
from skerry.engine.model import parse_time
from skerry.workloads.client import ManagementClient
from skerry.workloads.deployment import Deployment, DeploymentError
from skerry.workloads.model import AGENT

_APPLIED = 200
_ANSWER_SECONDS = 10.0
_STORAGE = re.compile(r"storagefolder=(.*)", re.IGNORECASE)
_CLEAN_ENDS = {0}
_JUST_STARTED = timedelta(minutes=2)
_MANY_RESTARTS = 3


def deployment_of(appliance: Appliance) -> dict[str, object] | None:
    """Return the manifest of the configuration, or the one applied by hand."""
    state = appliance.paths.state / "edged" / "cache" / "deployment_status.json"
    return Deployment(appliance.paths.current / "deployment.json", state).read()


def _manifest(appliance: Appliance) -> Finding:
    try:
        document = deployment_of(appliance)
        if document is None:
            return ignored("there is no deployment on this device: the cloud gives it")
        deployment = parse_deployment(document)
    except (DeploymentError, AgentError) as problem:
        return error(
            f"the deployment cannot be used: {problem}",
            "correct [modules] in config.toml, then: sudo skerry config apply",
        )
    faults = [f"{name}: {reason}" for name, reason in sorted(deployment.refused.items())]
    faults += port_conflicts(deployment)
    if faults:
        return error(
            f"the deployment is refused: {faults[0]}",
            "correct [modules] in config.toml, then: sudo skerry config apply",
            *faults[1:],
        )
    return ok(f"{len(deployment.modules)} modules")


def _status(appliance: Appliance) -> Finding:
    client = ManagementClient(appliance.socket("edged"), _ANSWER_SECONDS)
    try:
        report, history = client.deployment_status(), client.deployment_history()
    except (ApiError, UnreachableError) as problem:
        return error(f"edged does not tell: {problem}", "journalctl -u skerry-edged")
    if report is None:
        return warning("the edge agent has not reported yet", "skerry logs edgeAgent")
    missed = _last(report)
    if not missed:
        # one that was rolled back before it is history
        return ok("the last deployment is in force")
    return worst([*missed, *_rolled_back(history)], missed[0])


def _last(report: Mapping[str, Any]) -> list[Finding]:
    status = report.get("lastDesiredStatus")
    code = status.get("code") if isinstance(status, dict) else None
    if code == _APPLIED:
        return []
    told = str(status.get("description") or "") if isinstance(status, dict) else ""
    return [
        error(
            f"the last deployment is not in force ({code}): {told or 'no reason was given'}",
            "skerry deployment show; skerry logs edgeAgent",
        )
    ]


def _rolled_back(history: Mapping[str, Any] | None) -> list[Finding]:
    bad = (history or {}).get("bad")
    entries = (history or {}).get("history")
    last = entries[-1] if isinstance(entries, list) and entries else None
    if not isinstance(bad, dict) or not isinstance(last, dict):
        return []
    if last.get("outcome") != "rolled-back" or last.get("digest") not in bad:
        return []
    return [
        warning(
            f"the last deployment was rolled back: {last.get('reason')}",
            "correct it and deploy again, or: skerry deployment retry",
            f"{str(last.get('digest'))[:12]} version {last.get('version')}",
        )
    ]


def _health(appliance: Appliance) -> Finding:
    modules = appliance.modules()
    if AGENT not in modules:
        return error(
            "the edge agent has no container: no module is looked after",
            "journalctl -u skerry-edged says why edged does not make it",
        )
    now = appliance.clock.now()
    restarts = _restarts(appliance)
    found = [
        _module(name, module, now, restarts.get(name, 0))
        for name, module in sorted(modules.items())
    ]
    found += _missing(appliance, modules)
    running = sum(module["State"].get("Status") == "running" for module in modules.values())
    return worst(found, ok(f"{running} of {len(modules)} run"))


def _restarts(appliance: Appliance) -> dict[str, int]:
    """Return how often the agent started each module again; empty before it reported."""
    reported = _report(appliance)
    return {
        name: int(entry.get("restartCount") or 0)
        for name, entry in reported.items()
        if isinstance(entry, dict)
    }


def _missing(appliance: Appliance, modules: Mapping[str, object]) -> list[Finding]:
    """Find modules that the deployment names and that have no container."""
    found = []
    for name, entry in _report(appliance).items():
        wanted = isinstance(entry, dict) and entry.get("status") == "running"
        if wanted and name not in modules:
            why = str(entry.get("statusDescription") or "")
            if why in {"", "running"}:
                why = "it was removed, and the agent has not made it again"
            found.append(error(f"{name} has no container: {why}", "skerry logs edgeAgent"))
    return found


def _report(appliance: Appliance) -> dict[str, Any]:
    return appliance.facts.once("report", lambda: _ask_report(appliance))


def _ask_report(appliance: Appliance) -> dict[str, Any]:
    try:
        report = ManagementClient(appliance.socket("edged"), _ANSWER_SECONDS).deployment_status()
    except (ApiError, UnreachableError):
        return {}
    modules = (report or {}).get("modules")
    return modules if isinstance(modules, dict) else {}


def _module(name: str, module: Mapping[str, Any], now: datetime, restarts: int) -> Finding:
    state = module["State"]
    status, code = state.get("Status"), int(state.get("ExitCode") or 0)
    logs = f"skerry logs {name}"
    health = (state.get("Health") or {}).get("Status")
    if state.get("OOMKilled"):
        return error(
            f"{name} was ended because it used more memory than it may", logs, _limit(module)
        )
    if status == "running" and health == "unhealthy":
        return error(f"{name} runs, and its own health check fails", logs, *_probe(state))
    if status == "paused":
        return error(f"{name} is paused: it has no processor", f"sudo docker unpause {name}")
    if status in {"restarting", "dead"} or (status == "exited" and code not in _CLEAN_ENDS):
        reason = f": {state['Error']}" if state.get("Error") else ""
        ended = parse_time(str(state.get("FinishedAt", "")))
        when = f"at {ended:%Y-%m-%d %H:%M:%S} UTC" if ended else "before it started"
        return error(f"{name} failed with status {code}{reason}", logs, f"it ended {when}")
    if status == "created" and state.get("Error"):
        return error(f"{name} cannot be started: {state['Error']}", logs)
    started = parse_time(str(state.get("StartedAt", "")))
    young = started is not None and now - started < _JUST_STARTED
    if status == "running" and young and restarts >= _MANY_RESTARTS:
        return warning(f"{name} starts again and again ({restarts} times so far)", logs)
    return ok()


def _probe(state: Mapping[str, Any]) -> list[str]:
    log = (state.get("Health") or {}).get("Log") or []
    return [str(log[-1].get("Output", "")).strip()[:200]] if log else []


def _limit(module: Mapping[str, Any]) -> str:
    limit = int((module.get("HostConfig") or {}).get("Memory") or 0)
    return f"its limit is {limit >> 20} MiB" if limit else "it has no limit of its own"


def _storage(appliance: Appliance, name: str) -> Finding:
    module = appliance.modules().get(name)
    if module is None:
        if name != AGENT:
            return ignored(f"this device has no {name}")
        return warning(f"there is no container {name!r}", "journalctl -u skerry-edged")
    env = (module.get("Config") or {}).get("Env") or []
    matches = [found for line in env if (found := _STORAGE.fullmatch(str(line)))]
    folder = matches[-1][1] if matches else "/tmp"  # noqa: S108 - upstream's default
    targets = [str(mount.get("Destination", "")) for mount in module.get("Mounts") or []]
    host = module.get("HostConfig") or {}
    targets += [str(mount.get("Target", "")) for mount in host.get("Mounts") or []]
    targets += [bind.split(":")[1] for bind in host.get("Binds") or [] if ":" in bind]
    if any(folder == one or folder.startswith(f"{one.rstrip('/')}/") for one in targets if one):
        return ok(folder)
    return warning(
        f"what {name} keeps in {folder} is lost with its container",
        f"mount a volume there: createOptions of {name}, HostConfig.Mounts",
    )


CHECKS = (
    Check(
        "edge-agent-storage-mounted-from-host",
        Section.EDGE,
        "the edge agent's storage outlives its container",
        lambda appliance: _storage(appliance, AGENT),
        needs=("container-engine-uri",),
    ),
    Check(
        "edge-hub-storage-mounted-from-host",
        Section.EDGE,
        "the edge hub's storage outlives its container",
        lambda appliance: _storage(appliance, "edgeHub"),
        needs=("container-engine-uri",),
    ),
    Check("manifest-valid", Section.APPLIANCE, "the deployment can be carried out", _manifest),
    Check(
        "deployment-status",
        Section.APPLIANCE,
        "the deployment is in force",
        _status,
        needs=("edged-running",),
    ),
    Check(
        "module-health",
        Section.APPLIANCE,
        "every module runs",
        _health,
        needs=("container-engine-uri",),
    ),
)
