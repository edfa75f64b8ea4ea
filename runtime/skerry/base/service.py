"""The frame of every service: command line, log, signals, exit status.

A service is one function `build(context) -> list[Listener]`, passed to `main`; what it has to do at
a certain time it adds to `context.upkeep`. Exit status: 0 clean or idle, 1 failed, 153 the settings
cannot be used (systemd does not start it again).
"""

import argparse
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SettingsError, SkerryError
from skerry.base.http import Request, Response, Router
from skerry.base.log import Logger, get_logger, setup
from skerry.base.server import Listener, Server
from skerry.base.settings import read_settings
from skerry.base.sockets import open_listeners
from skerry.base.upkeep import Upkeep, as_json

EXIT_FAILED = 1
EXIT_SETTINGS = 153
EXIT_REPROVISIONED = 154

_RUN = Path("/run/skerry")
_DEADLINE_SECONDS = 20.0
_LAST_JOB_SECONDS = 5.0


@dataclass(frozen=True)
class Context:
    """What a service is started with; `digest` is that of the files `settings` came from."""

    name: str
    config_dir: Path
    state_dir: Path
    settings: dict[str, object]
    digest: str
    sockets: dict[str, socket.socket]
    peers: dict[str, Path]
    clock: Clock
    log: Logger
    upkeep: Upkeep

    def peer(self, name: str) -> Path:
        """Return the socket of another service."""
        return self.peers.get(name, _RUN / f"{name}.sock")


Build = Callable[[Context], list[Listener]]


def main(
    name: str, socket_names: Sequence[str], build: Build, arguments: Sequence[str] | None = None
) -> int:
    """Run a service whose listeners `build` makes; returns the exit status."""
    options = parse_arguments(name, arguments)
    setup(name)
    log = get_logger(name)
    try:
        context = open_context(name, socket_names, options, log)
        listeners = build(context)
    except SettingsError as error:
        log.error("settings refused", reason=error)
        return EXIT_SETTINGS
    except SkerryError as error:
        log.error("cannot start", reason=error)
        return EXIT_FAILED
    for listener in listeners:
        add_config_route(listener.router, context.digest)
        add_deadline_route(listener.router, context.upkeep)
    server = Server(listeners, clock=context.clock, log=log, idle_exit_seconds=options.idle_exit)
    with stopped_by_signals(server):
        log.info("started", settings=context.digest[:12])
        notify_ready()
        context.upkeep.start(server.busy)
        server.run()
    context.upkeep.stop(_LAST_JOB_SECONDS)
    log.info("stopped")
    return 0


def parse_arguments(name: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the options that all services share."""
    parser = argparse.ArgumentParser(prog=name, description=f"{name}, a native service of Skerry")
    parser.add_argument(
        "--config-dir", type=Path, default=Path("/etc/skerry") / name, metavar="DIR"
    )
    parser.add_argument(
        "--state-dir", type=Path, default=Path("/var/lib/skerry") / name, metavar="DIR"
    )
    parser.add_argument("--socket", action="append", default=[], type=_pair, metavar="NAME=PATH")
    parser.add_argument("--peer", action="append", default=[], type=_pair, metavar="NAME=PATH")
    parser.add_argument("--idle-exit", type=float, default=0, metavar="SECONDS", help="0 = never")
    return parser.parse_args(arguments)


def open_context(
    name: str,
    socket_names: Sequence[str],
    options: argparse.Namespace,
    log: Logger,
    clock: Clock | None = None,
) -> Context:
    """Read the settings and open the sockets; raises SettingsError."""
    os.umask(0o077)
    settings, digest = read_settings(options.config_dir)
    clock = clock or SystemClock()
    return Context(
        name=name,
        config_dir=options.config_dir,
        state_dir=options.state_dir,
        settings=settings,
        digest=digest,
        sockets=open_listeners(socket_names, dict(options.socket)),
        peers={peer: Path(path) for peer, path in options.peer},
        clock=clock,
        log=log,
        upkeep=Upkeep(options.state_dir, clock, log),
    )


def add_config_route(router: Router, digest: str) -> None:
    """Serve `GET /config`, by which `skerry config apply` knows which settings are in force."""

    def handler(_request: Request) -> Response:
        return Response.json({"digest": digest})

    router.add("GET", "/config", handler)


def add_deadline_route(router: Router, upkeep: Upkeep) -> None:
    """Serve `GET /deadline`, by which edged knows when to wake the service."""

    def handler(_request: Request) -> Response:
        return Response.json(as_json(upkeep.deadline(_DEADLINE_SECONDS)))

    router.add("GET", "/deadline", handler)


@contextmanager
def stopped_by_signals(server: Server) -> Iterator[None]:
    """End the server on SIGTERM and SIGINT.

    Python runs a handler when the main thread comes by. The wake-up descriptor makes it come by:
    a signal that another thread got, or that came just before the main thread began to wait, would
    not be noticed before the next request.
    """
    descriptor = server.wake_descriptor()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: server.stop())
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        os.close(descriptor)


def notify_ready() -> None:
    """Tell systemd that the service is up (Type=notify); nothing without NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall(b"READY=1")


def _pair(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, path
