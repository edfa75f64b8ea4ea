"""`skerry system stop|restart`: the native services, and with `stop` the modules too.

Services may be restarted under running modules (docs/decisions/0030), so stopping the modules is a
verb of its own. It works without edged: that is stopped first, or it would start its agent again.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

SERVICES = ("edged", "identityd", "certd", "keyd")
_SOCKETS = {"edged": ("skerry-edged-mgmt.socket", "skerry-edged-workload.socket")}
_SETTINGS = Path("/etc/skerry/edged")
_ENGINE = "unix:///var/run/docker.sock"
_STOP_SECONDS = 30
_COMMAND_SECONDS = 180


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("system", help="stop or restart all of Skerry on this device")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    stop = actions.add_parser("stop", help="stop the modules and the native services")
    stop.add_argument(
        "--engine", metavar="URI", help="the container engine (default: as edged is configured)"
    )
    stop.set_defaults(run=run_stop)
    restart = actions.add_parser("restart", help="restart the native services; modules run on")
    restart.set_defaults(run=run_restart)


def run_stop(options: argparse.Namespace) -> int:
    """Stop the services, then every module, the agent first."""
    _needs_root()
    _systemctl("stop", *sockets(), *units())
    sys.stderr.write("Stopped the native services\n")
    for name in stop_modules(options.engine or _engine_uri()):
        sys.stderr.write(f"Stopped {name}\n")
    sys.stderr.write("To start again: skerry system restart\n")
    return 0


def run_restart(_options: argparse.Namespace) -> int:
    """Start the sockets and restart the services that run; edged in any case."""
    _needs_root()
    _systemctl("reset-failed", *units(), check=False)
    _systemctl("start", *sockets())
    _systemctl("try-restart", *units())
    _systemctl("start", "skerry-edged.service")
    sys.stderr.write("Restarted the native services\n")
    return 0


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


def units() -> list[str]:
    return [f"skerry-{name}.service" for name in SERVICES]


def sockets() -> list[str]:
    return [s for name in SERVICES for s in _SOCKETS.get(name, (f"skerry-{name}.socket",))]


def _engine_uri() -> str:
    from skerry.base.settings import load_settings

    moby = load_settings(_SETTINGS).get("moby_runtime")
    uri = moby.get("uri") if isinstance(moby, dict) else None
    return uri if isinstance(uri, str) else _ENGINE


def _needs_root() -> None:
    from skerry.base.errors import SkerryError

    if os.geteuid() != 0:
        raise SkerryError("stopping and restarting services needs root; run it with sudo")


def _systemctl(*arguments: str, check: bool = True) -> None:
    from skerry.base.errors import SkerryError

    try:
        done = subprocess.run(
            ["systemctl", *arguments],
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise SkerryError(f"systemctl {arguments[0]} cannot be run: {error}") from error
    if check and done.returncode:
        raise SkerryError(f"systemctl {arguments[0]}: {done.stderr.strip()}")
