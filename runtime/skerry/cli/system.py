"""`skerry system …`: the native services, all of them at once.

Services may be restarted under running modules (docs/decisions/0030), so stopping the modules is a
verb of its own. It works without edged: that is stopped first, or it would start its agent again.
"""

import argparse
import json
import sys
from pathlib import Path

from skerry.cli._options import add_output, say

_SETTINGS = Path("/etc/skerry/edged")
_UNIT_DIR = "/etc/systemd/system"
_BIN_DIR = "/usr/local/bin"
_COMMAND = Path("/usr/bin/skerry")
_ENGINE = "unix:///var/run/docker.sock"
_STOP_SECONDS = 30
_LAST_LINES = 10
_NAME_WIDTH = 24
_LEVELS = ("error", "warn", "info", "debug", "trace")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("system", help="the native services of this device")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    status = actions.add_parser("status", help="show how the native services are")
    add_output(status)
    status.set_defaults(run=run_status)
    logs = actions.add_parser("logs", help="show the journal of the native services, merged")
    logs.add_argument("options", nargs="*", metavar="-- OPTION", help="options of journalctl")
    add_output(logs)
    logs.set_defaults(run=run_logs)
    stop = actions.add_parser("stop", help="stop the modules and the native services")
    stop.add_argument(
        "--engine", metavar="URI", help="the container engine (default: as edged is configured)"
    )
    stop.add_argument(
        "--remove", action="store_true", help="remove the modules' containers too; volumes stay"
    )
    stop.set_defaults(run=run_stop)
    restart = actions.add_parser("restart", help="restart the native services; modules run on")
    restart.set_defaults(run=run_restart)
    again = actions.add_parser("reprovision", help="have the device's identity made again")
    again.set_defaults(run=run_reprovision)
    alias = actions.add_parser("alias", help="whether the command iotedge is there, too")
    alias.add_argument("state", choices=("on", "off"), metavar="on|off")
    alias.add_argument("--bin-dir", metavar="DIR", default=_BIN_DIR, help=f"default {_BIN_DIR}")
    alias.set_defaults(run=run_alias)
    level = actions.add_parser("set-log-level", help="how much the native services write")
    level.add_argument("level", choices=_LEVELS, metavar="|".join(_LEVELS))
    level.add_argument("--unit-dir", metavar="DIR", default=_UNIT_DIR, help=f"default {_UNIT_DIR}")
    level.set_defaults(run=run_set_log_level)
    for action in (stop, restart, again, alias, level):
        add_output(action)


def run_status(options: argparse.Namespace) -> int:
    """Print each service's state, and the last words of a failed one; exit status 1 if one is."""
    from skerry.cli._units import last_lines
    from skerry.cli.status import SERVICES, service_state

    states = {name: service_state(name) for name in SERVICES}
    failed = [name for name, state in states.items() if state.startswith("failed")]
    if options.output == "json":
        sys.stdout.write(json.dumps({"services": states, "failed": failed}, indent=1) + "\n")
        return 1 if failed else 0
    sys.stdout.write("System services:\n")
    for name, state in states.items():
        unit = f"skerry-{name}"
        sys.stdout.write(f"    {unit:<{_NAME_WIDTH}}{_shown(state)}\n")
    for name in failed:
        unit = f"skerry-{name}.service"
        sys.stdout.write(f"\n{unit}:\n{last_lines(unit, _LAST_LINES)}")
    return 1 if failed else 0


def _shown(state: str) -> str:
    """Return a state in upstream's words."""
    return state.capitalize() if state in ("running", "ready") else f"Down - {state}"


def run_logs(options: argparse.Namespace) -> int:
    """Hand over to journalctl."""
    from skerry.cli._units import journal

    form = ["--output", "json"] if options.output == "json" else []
    return 1 if journal([*form, *options.options]) else 0


def run_stop(options: argparse.Namespace) -> int:
    """Stop the services, then every module, the agent first."""
    from skerry.cli._units import needs_root, sockets, systemctl, units

    needs_root("stopping services")
    systemctl("stop", *sockets(), *units())
    uri = options.engine or engine_uri()
    stopped = stop_modules(uri)
    removed = remove_modules(uri) if options.remove else []
    lines = ["Stopped the native services", *(f"Stopped {name}" for name in stopped)]
    lines += [*(f"Removed {name}" for name in removed), "To start again: skerry system restart"]
    say(options, "\n".join(lines), {"result": "stopped", "stopped": stopped, "removed": removed})
    return 0


def run_restart(options: argparse.Namespace) -> int:
    """Start the sockets and restart the services that run; edged in any case."""
    from skerry.cli._units import needs_root, sockets, systemctl, units

    needs_root("restarting services")
    systemctl("reset-failed", *units(), check=False)
    systemctl("start", *sockets())
    systemctl("try-restart", *units())
    systemctl("start", "skerry-edged.service")
    say(options, "Restarted the native services", {"result": "restarted"})
    return 0


def run_reprovision(options: argparse.Namespace) -> int:
    """Have identityd ask again, then edged begin with what it got."""
    from skerry.base.client import UnreachableError
    from skerry.base.errors import SkerryError
    from skerry.cli._units import needs_root, socket_of, systemctl
    from skerry.identity.client import IdentityClient

    needs_root("reprovisioning")
    try:
        IdentityClient(socket_of("identityd")).reprovision()
    except UnreachableError as error:
        raise SkerryError(f"{error}; see: journalctl -u skerry-identityd") from error
    systemctl("restart", "skerry-edged.service")
    said = "Reprovisioned; edged begins with the new identity"
    say(options, said, {"result": "reprovisioned"})
    return 0


def run_set_log_level(options: argparse.Namespace) -> int:
    """Write a drop-in for each service and restart those that run."""
    from skerry.base.errors import SkerryError
    from skerry.cli._units import needs_root, systemctl, units

    needs_root("setting the log level")
    # trace is a word of Azure IoT Edge; there is nothing below debug here
    level = "debug" if options.level == "trace" else options.level
    try:
        write_log_level(level, Path(options.unit_dir))
    except OSError as error:
        raise SkerryError(f"{error.filename} cannot be written: {error.strerror}") from error
    systemctl("daemon-reload")
    systemctl("try-restart", *units())
    said = f"The native services write messages of level {level} and above"
    say(options, said, {"result": "set", "level": level})
    return 0


def run_alias(options: argparse.Namespace) -> int:
    """Link `iotedge` to `skerry`, or take the link away; a file of somebody else stays."""
    from skerry.base.errors import SkerryError
    from skerry.cli._iotedge import NAME

    link = Path(options.bin_dir) / NAME
    is_ours = link.is_symlink() and link.readlink() == _COMMAND
    if (link.exists() or link.is_symlink()) and not is_ours:
        raise SkerryError(f"{link} is there and not Skerry's; remove it first")
    try:
        if options.state == "off":
            link.unlink(missing_ok=True)
        elif not is_ours:
            link.symlink_to(_COMMAND)
    except OSError as error:
        raise SkerryError(f"{link} cannot be changed: {error.strerror}") from error
    said = f"The command {NAME} is {options.state}"
    say(options, said, {"command": NAME, "state": options.state})
    return 0


def write_log_level(level: str, unit_dir: Path) -> None:
    """Write `<unit>.d/log-level.conf` of every service."""
    from skerry.base.files import write_atomic
    from skerry.cli._units import units

    text = (
        f"# Written by `skerry system set-log-level`.\n[Service]\nEnvironment=SKERRY_LOG={level}\n"
    )
    for unit in units():
        folder = unit_dir / f"{unit}.d"
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(folder / "log-level.conf", text.encode(), mode=0o644)


def stop_modules(engine_uri: str) -> list[str]:
    """Stop every running module and return their names; the agent goes first, it starts others."""
    from skerry.engine.client import MobyEngine
    from skerry.workloads.model import AGENT, OWNED

    engine = MobyEngine(engine_uri)
    running = [
        container
        for container in map(engine.inspect, engine.containers(OWNED))
        if container.state.running
    ]
    running.sort(key=lambda container: (container.name != AGENT, container.name))
    for container in running:
        engine.stop(container.id, _STOP_SECONDS)
    return [container.name for container in running]


def remove_modules(engine_uri: str) -> list[str]:
    """Remove every module's container and return their names."""
    from skerry.engine.client import MobyEngine
    from skerry.workloads.model import OWNED

    engine = MobyEngine(engine_uri)
    found = sorted(map(engine.inspect, engine.containers(OWNED)), key=lambda one: one.name)
    for container in found:
        engine.remove(container.id)
    return [container.name for container in found]


def engine_uri(settings: Path = _SETTINGS) -> str:
    """Return where the container engine is, from edged's settings."""
    from skerry.base.settings import load_settings

    moby = load_settings(settings).get("moby_runtime")
    uri = moby.get("uri") if isinstance(moby, dict) else None
    return uri if isinstance(uri, str) else _ENGINE
