"""`skerry status`: the native services, the modules and what the agent reports.

`--timeline` prints the steps of the bootstrap instead, from the journal of this boot.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from skerry.cli._options import add_output

SERVICES = ("keyd", "certd", "tpmd", "identityd", "edged")
_SOCKETS = {"edged": "skerry-edged-mgmt.socket"}
_COMMAND_SECONDS = 60
_OK = 200


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("status", help="show how this device is")
    parser.add_argument(
        "--timeline", action="store_true", help="the steps of the bootstrap and their durations"
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the state; exit status 1 when a service failed or edged does not answer."""
    return _timeline(options) if options.timeline else _status(options)


def _status(options: argparse.Namespace) -> int:
    from skerry.base.errors import SkerryError
    from skerry.cli._edged import edged
    from skerry.cli._text import by_name

    services = {name: service_state(name) for name in SERVICES}
    found: list[dict[str, object]] = []
    reported: dict[str, object] | None = None
    problem = None
    try:
        with edged() as service:
            found = by_name(service.modules())
            reported = service.deployment_status()
    except SkerryError as error:
        problem = str(error)
    if options.output == "json":
        answer = {
            "services": services,
            "modules": found,
            "deployment": reported,
            "problem": problem,
        }
        sys.stdout.write(json.dumps(answer, indent=1) + "\n")
    else:
        sys.stdout.write(text_of(services, found, reported))
        if problem is not None:
            sys.stderr.write(f"skerry: {problem}\n")
    failed = any(state.startswith("failed") for state in services.values())
    return 1 if failed or problem is not None else 0


def text_of(
    services: Mapping[str, str],
    found: Sequence[Mapping[str, object]],
    reported: Mapping[str, object] | None,
) -> str:
    """Return services, modules and the deployment, one a line."""
    from skerry.base.clock import SystemClock
    from skerry.cli._text import columns, row

    now = SystemClock().now()
    rows = [row(module, now) for module in found]
    return columns(
        ("NAME", "STATUS", "DESCRIPTION"),
        [
            *((name, state, "service") for name, state in services.items()),
            *((entry.name, entry.status, entry.description) for entry in rows),
            ("deployment", *_deployment(reported)),
        ],
    )


def _deployment(reported: Mapping[str, object] | None) -> tuple[str, str]:
    status = (reported or {}).get("lastDesiredStatus")
    if not isinstance(status, dict):
        return "unknown", "the agent has not reported yet"
    code = status.get("code")
    return "applied" if code == _OK else f"failed ({code})", str(status.get("description") or "")


def service_state(name: str) -> str:
    """Return running, ready (its socket waits), failed (153), stopped or not installed."""
    unit = f"skerry-{name}.service"
    shown = _run(
        "systemctl", "show", "--property=LoadState,ActiveState,ExecMainStatus", unit
    ).splitlines()
    state = dict(line.partition("=")[::2] for line in shown)
    if state.get("LoadState") != "loaded":
        return "not installed"
    if state.get("ActiveState") == "failed":
        return f"failed ({state.get('ExecMainStatus')})"
    if state.get("ActiveState") in {"active", "reloading"}:
        return "running"
    socket = _SOCKETS.get(name, f"skerry-{name}.socket")
    waits = _run("systemctl", "show", "--property=ActiveState", "--value", socket).strip()
    return "ready" if waits == "active" else "stopped"


def _timeline(options: argparse.Namespace) -> int:
    from skerry.cli._text import columns

    units = [f"--unit=skerry-{name}" for name in (*SERVICES, "seed")]
    steps = steps_in(_run("journalctl", "--boot", "--output=cat", "--quiet", *units))
    if options.output == "json":
        sys.stdout.write(json.dumps({"steps": steps}, indent=1) + "\n")
        return 0
    if not steps:
        hint = "nothing has started yet" if os.geteuid() == 0 else "try it with sudo"
        sys.stderr.write(f"skerry: the journal of this boot has no steps; {hint}\n")
        return 0
    lines = [
        (str(step["time"]), str(step["service"]), str(step["step"]), f"{step['seconds']} s")
        for step in steps
    ]
    sys.stdout.write(columns(("TIME", "SERVICE", "STEP", "SECONDS"), lines))
    return 0


def steps_in(journal: str) -> list[dict[str, object]]:
    """Return the steps that services wrote to the journal, by time."""
    from skerry.base.log import STEP_MARK

    steps = []
    for line in journal.splitlines():
        _, mark, record = line.partition(STEP_MARK)
        if not mark:
            continue
        try:
            step = json.loads(record)
        except ValueError:
            continue
        if isinstance(step, dict) and {"time", "service", "step", "seconds"} <= step.keys():
            steps.append(step)
    return sorted(steps, key=lambda step: str(step["time"]))


def _run(*command: str) -> str:
    from skerry.base.errors import SkerryError

    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise SkerryError(f"{command[0]} is not on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise SkerryError(f"{' '.join(command)} did not end in time") from error
    return done.stdout
