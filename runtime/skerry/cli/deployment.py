"""`skerry deployment`: what is in force, what came before, back again, and a file by hand.

edged answers by what the agent reports; what is asked of the agent it does at its next look, within
seconds.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skerry.base.errors import SkerryError
from skerry.cli._options import add_output

_SHORT = 12
_MAX_BYTES = 4 * 1024 * 1024


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its own verbs."""
    parser = subparsers.add_parser("deployment", help="what the modules are made from")
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, told, run in (
        ("show", "what is in force, and what is being tried", _show),
        ("history", "the deployments so far and how they ended", _history),
        ("rollback", "give up the one on trial, or go back to the one before", _rollback),
        ("retry", "try a deployment again that was rolled back", _retry),
    ):
        verb = verbs.add_parser(name, help=told)
        add_output(verb)
        verb.set_defaults(run=run)
    for name, told, run in (
        ("diff", "what a manifest would change", _diff),
        ("apply", "put a manifest in force until the configuration changes", _apply),
    ):
        verb = verbs.add_parser(name, help=told)
        verb.add_argument("file", metavar="FILE", type=Path)
        add_output(verb)
        verb.set_defaults(run=run)
        if name == "apply":
            verb.add_argument("--dry-run", action="store_true", help="say only what would change")


def _show(options: argparse.Namespace) -> int:
    from skerry.cli._text import columns

    state = _state()
    if options.output == "json":
        return _json({name: value for name, value in state.items() if name != "history"})
    rows = [("phase", str(state.get("phase", ""))), ("problem", str(state.get("problem", "")))]
    for name, title in (("good", "in force"), ("trial", "on trial"), ("former", "before")):
        found = state.get(name)
        if isinstance(found, dict):
            rows.append((title, f"{str(found['digest'])[:_SHORT]} version {found['version']}"))
    for digest, reason in _table(state, "bad").items():
        rows.append(("not tried again", f"{digest[:_SHORT]} {reason}"))
    sys.stdout.write(columns(("WHAT", "VALUE"), [row for row in rows if row[1]]))
    return 0


def _history(options: argparse.Namespace) -> int:
    from skerry.cli._text import columns

    found = _state().get("history")
    entries: list[dict[str, Any]] = found if isinstance(found, list) else []
    if options.output == "json":
        return _json({"history": entries})
    rows = [
        (
            str(entry["ended"])[:19].replace("T", " "),
            str(entry["digest"])[:_SHORT],
            str(entry["version"]),
            str(entry["outcome"]),
            str(entry["reason"]),
        )
        for entry in entries
    ]
    sys.stdout.write(columns(("ENDED (UTC)", "DEPLOYMENT", "VERSION", "OUTCOME", "REASON"), rows))
    return 0


def _rollback(options: argparse.Namespace) -> int:
    state = _state()
    if not state.get("trial") and not state.get("former"):
        raise SkerryError("there is no deployment to go back to; see: skerry deployment history")
    return _ask(options, "rollback")


def _retry(options: argparse.Namespace) -> int:
    return _ask(options, "retry")


def _ask(options: argparse.Namespace, action: str) -> int:
    from skerry.cli._edged import edged

    with edged() as service:
        service.ask_agent(action)
    if options.output == "json":
        return _json({"result": "requested", "action": action})
    sys.stdout.write(f"Requested {action}; see: skerry deployment show\n")
    return 0


def _diff(options: argparse.Namespace) -> int:
    return _print_changes(options, _changes(_read(options.file)))


def _apply(options: argparse.Namespace) -> int:
    from skerry.cli._edged import edged

    document = _read(options.file)
    changes = _changes(document)
    if not options.dry_run:
        with edged() as service:
            service.apply_deployment(document)
    return _print_changes(options, changes)


def _print_changes(options: argparse.Namespace, changes: Mapping[str, list[str]]) -> int:
    if options.output == "json":
        return _json(changes)
    lines = [f"{name} {kind}\n" for kind, names in changes.items() for name in names]
    sys.stdout.write("".join(lines) or "nothing would change\n")
    return 0


def _changes(document: Mapping[str, object]) -> dict[str, list[str]]:
    """Return which modules a manifest adds, changes and removes, by what the agent reported.

    Raises: SkerryError when the agent would refuse it.
    """
    from skerry.agent.deployment import parse_deployment, port_conflicts
    from skerry.cli._edged import edged

    deployment = parse_deployment(document)
    faults = [f"{name}: {reason}" for name, reason in sorted(deployment.refused.items())]
    faults += port_conflicts(deployment)
    if faults:
        raise SkerryError("; ".join(faults))
    with edged() as service:
        report = service.deployment_status() or {}
    now = {**_table(report, "systemModules"), **_table(report, "modules")}
    now.pop("edgeAgent", None)
    wanted = deployment.modules
    changed = [
        name
        for name, module in wanted.items()
        if name in now
        and (
            _table(now[name], "settings").get("image") != module.image
            or now[name].get("status") != module.status.value
            or {key: held.get("value") for key, held in _table(now[name], "env").items()}
            != dict(module.env)
            or _options(now[name]) != module.create_options
        )
    ]
    return {
        "added": sorted(set(wanted) - set(now)),
        "changed": sorted(changed),
        "removed": sorted(set(now) - set(wanted)),
    }


def _options(entry: Mapping[str, Any]) -> object:
    from skerry.agent.deployment import create_options

    return create_options(_table(entry, "settings"))


def _read(path: Path) -> dict[str, object]:
    from skerry.base.files import read_limited

    try:
        document = json.loads(read_limited(path, _MAX_BYTES))
    except (OSError, ValueError) as error:
        raise SkerryError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise SkerryError(f"{path} holds {type(document).__name__}, expected a JSON object")
    return document


def _state() -> dict[str, object]:
    from skerry.cli._edged import edged

    with edged() as service:
        state = service.deployment_history()
    if state is None:
        raise SkerryError("the edge agent has not reported yet; see: skerry logs edgeAgent")
    return state


def _table(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _json(value: Mapping[str, object]) -> int:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")
    return 0
