"""Native services with folders and sockets of their own: as processes, or in a thread.

`start` runs a service as systemd would; `host` runs the same service in this process, which is
faster, and its lines count for coverage.
"""

import importlib
import json
import os
import select
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from skerry.base.clock import Clock
from skerry.base.http import HttpError, Request, Router
from skerry.base.log import get_logger
from skerry.base.peer import Peer
from skerry.base.server import Server
from skerry.base.service import (
    add_config_route,
    add_deadline_route,
    open_context,
    parse_arguments,
)
from skerry.base.upkeep import Upkeep

START_SECONDS = 20

MODULES = {
    "keyd": "skerry.keys.service",
    "certd": "skerry.certs.service",
    "tpmd": "skerry.tpm.service",
    "identityd": "skerry.identity.service",
}


@dataclass(frozen=True)
class Hosted:
    """A service in this process; `version` is its newest api-version."""

    router: Router
    version: str
    upkeep: Upkeep

    def call(self, uid: int, line: str, body: object = None, **query: str) -> tuple[int, object]:
        """Call a route, `"METHOD /path"`, as any user; returns status and answer."""
        method, path = line.split()
        data = b"" if body is None else json.dumps(body).encode()
        query["api-version"] = self.version
        request = Request(method, path, query, {}, data, Peer(1, uid, uid), "test")
        try:
            response = self.router.handle(request)
        except HttpError as error:
            return error.status, str(error)
        return response.status, json.loads(response.body) if response.body else None


@dataclass
class Services:
    """Starts services below one folder: `<name>/{config,state}` and `<name>.sock`.

    Hosted services live at the time of `clock`, the machine's where it is None.
    """

    folder: Path
    clock: Clock | None = None
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    hosted: list[tuple[Server, threading.Thread]] = field(default_factory=list)

    def socket(self, name: str) -> Path:
        """Return the socket of a service."""
        return self.folder / f"{name}.sock"

    def configure(self, name: str, settings: str) -> None:
        """Write the settings of a service."""
        path = self.folder / name / "config" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(settings)

    def arguments(self, name: str) -> list[str]:
        """Return the options that keep a service below the folder."""
        return [
            f"--config-dir={self.folder / name / 'config'}",
            f"--state-dir={self.folder / name / 'state'}",
            f"--socket={name}={self.socket(name)}",
            *(f"--peer={peer}={self.socket(peer)}" for peer in MODULES if peer != name),
        ]

    def host(self, name: str) -> Hosted:
        """Serve in a thread of this process."""
        mask = os.umask(0o077)
        try:
            options = parse_arguments(name, self.arguments(name))
            context = open_context(name, [name], options, get_logger(name), self.clock)
            (listener,) = importlib.import_module(MODULES[name]).build(context)
        finally:
            os.umask(mask)
        add_config_route(listener.router, context.digest)
        add_deadline_route(listener.router, context.upkeep)
        server = Server([listener], clock=context.clock, log=context.log)
        thread = threading.Thread(target=server.run, name=name)
        thread.start()
        self.hosted.append((server, thread))
        api = importlib.import_module(MODULES[name].replace(".service", ".api"))
        return Hosted(listener.router, api.API_VERSIONS[-1], context.upkeep)

    def spawn(self, name: str, *options: str) -> subprocess.Popen[str]:
        """Start a service without waiting for it."""
        process = subprocess.Popen(
            [sys.executable, "-m", MODULES[name], *self.arguments(name), *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "SKERRY_LOG": "info"},
        )
        self.running[name] = process
        return process

    def start(self, name: str, *options: str) -> subprocess.Popen[str]:
        """Start a service and wait until it serves."""
        process = self.spawn(name, *options)
        self.await_start(name)
        return process

    def await_start(self, name: str) -> None:
        """Wait until a service that was spawned serves."""
        process = self.running[name]
        assert process.stderr is not None
        said = ""
        while "started" not in said:
            ready, _, _ = select.select([process.stderr], [], [], START_SECONDS)
            line = process.stderr.readline() if ready else ""
            assert line, f"{name} did not start: {said}"
            said += line

    def kill(self, name: str) -> None:
        """End a service as a power cut would."""
        process = self.running.pop(name)
        process.kill()
        process.communicate()

    def end_hosted(self, name: str) -> None:
        """End a hosted service, if it runs; nothing listens on its socket any more."""
        for server, thread in list(self.hosted):
            if thread.name == name:
                server.stop()
                thread.join()
                self.hosted.remove((server, thread))
                self.socket(name).unlink(missing_ok=True)

    def stop(self) -> None:
        """End all services."""
        for name in list(self.running):
            self.kill(name)
        for server, thread in self.hosted:
            server.stop()
            thread.join()
