"""A device without systemd: edged, with keyd, certd and identityd behind it, below one folder.

Their settings are what `skerry config apply` would write. edged runs in a thread (`host`), where a
test says which container a caller is in, or as a process (`spawn`), where the kernel says it.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.docker_engine import DockerEngine
from harness.services import Services
from skerry.base.client import ServiceClient
from skerry.base.clock import Clock
from skerry.base.log import get_logger
from skerry.base.service import open_context, parse_arguments
from skerry.config import emit
from skerry.config.build import build
from skerry.config.document import read
from skerry.config.plan import make_plan
from skerry.config.site import Ids, Site
from skerry.workloads.service import Edged
from skerry.workloads.supervisor import Pace

VERSION = "2022-08-03"
DEADLINE_SECONDS = 30

QUICK = Pace(
    retry_seconds=0.05,
    watch_seconds=0.1,
    settle_seconds=0.05,
    first_attempt_seconds=0.05,
    after_reply_seconds=0.05,
)

CONFIG = """
hostname = "house"
[provisioning]
source = "standalone"
[agent]
name = "edgeAgent"
type = "docker"
[agent.config]
image = "localhost/test/agent:1"
"""


def until(condition: Callable[[], object], what: str, *, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait for a condition; fails with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def status_of(engine: DockerEngine, name: str) -> str | None:
    """Return a fake container's status; None when it is not there."""
    container = engine.containers.get(name)
    return None if container is None else container.status


def env_of(engine: DockerEngine, name: str) -> dict[str, str]:
    """Return the environment that a fake container was created with."""
    lines: Any = engine.containers[name].body["Env"]
    return dict(line.split("=", 1) for line in lines)


@dataclass
class House:
    """The services of one device; `caller` is the container that edged takes its callers for.

    In this process they live at the time of `clock`, the machine's where it is None.
    """

    folder: Path
    moby_uri: str
    caller: str | None = None
    services: Services = field(init=False)
    edged: Edged | None = None
    thread: threading.Thread | None = None
    process: subprocess.Popen[str] | None = None
    clock: Clock | None = None

    def __post_init__(self) -> None:
        self.services = Services(self.folder, self.clock)
        self.run_dir.mkdir(parents=True, exist_ok=True)

    @property
    def state(self) -> Path:
        return self.folder / "st"  # short: its sockets have to fit 107 characters

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    def client(self, socket: str = "mgmt") -> ServiceClient:
        """Return a client of mgmt, workload, or a module's own socket (a path below mnt)."""
        path = self.state / "mnt" / socket if "/" in socket else self.folder / f"{socket}.sock"
        return ServiceClient(path, VERSION, DEADLINE_SECONDS)

    def configure(self, config: str = CONFIG, deployment: object = None) -> None:
        """Write the settings of all services, as made from a config.toml."""
        document = read(config.encode(), "config.toml")
        assert document.problems == ()
        uid = os.getuid()
        site = Site("house", Ids(uid, uid, uid, uid, uid), str(self.folder))
        plan = make_plan(build(document.tables, "1"), site)
        for name in ("keyd", "certd", "identityd", "edged"):
            text = plan.files[f"{name}.toml"].data.decode()
            self.services.configure(name, text)
        extra = self.folder / "edged" / "config" / "config.d" / "50-engine.toml"
        extra.parent.mkdir(exist_ok=True)
        extra.write_text(emit.dump({"moby_runtime": {"uri": self.moby_uri}}))
        if deployment is not None:
            path = self.folder / "edged" / "current" / "deployment.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(deployment))

    def host_security(self) -> None:
        """Run keyd, certd and identityd in threads."""
        for name in ("keyd", "certd", "identityd"):
            self.services.host(name)

    def arguments(self) -> list[str]:
        peers = [f"--peer={n}={self.services.socket(n)}" for n in ("keyd", "certd", "identityd")]
        return [
            f"--config-dir={self.folder / 'edged' / 'config'}",
            f"--state-dir={self.state}",
            f"--socket=mgmt={self.folder / 'mgmt.sock'}",
            f"--socket=workload={self.folder / 'workload.sock'}",
            *peers,
        ]

    def host(self) -> None:
        """Run edged in a thread."""
        mask = os.umask(0o077)
        try:
            options = parse_arguments("edged", self.arguments())
            sockets = ("mgmt", "workload")
            context = open_context("edged", sockets, options, get_logger("edged"), self.clock)
            self.edged = Edged(context, self.images, lambda _peer: self.caller, QUICK, self.run_dir)
        finally:
            os.umask(mask)
        self.thread = threading.Thread(target=self.edged.server.run, name="edged")
        self.thread.start()
        self.edged.supervisor.start()

    def spawn_security(self) -> None:
        """Run keyd, certd and identityd as processes."""
        for name in ("keyd", "certd", "identityd"):
            self.services.start(name)

    def spawn(self, *, log_level: str = "debug") -> None:
        """Run edged as a process, and wait until its socket answers."""
        before = self.log().count("started settings")
        with (self.folder / "edged.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "skerry.workloads.service", *self.arguments()],
                stderr=log,
                text=True,
                env={
                    **os.environ,
                    "SKERRY_IMAGES": str(self.images),
                    "SKERRY_LOG": log_level,
                    "RUNTIME_DIRECTORY": str(self.run_dir),
                },
            )
        until(lambda: self.log().count("started settings") > before, "edged starts")

    def log(self) -> str:
        """Return what edged wrote so far, as a process."""
        path = self.folder / "edged.log"
        return path.read_text() if path.exists() else ""

    def modules(self) -> dict[str, str]:
        """Return the status of every module, by name."""
        answer: Any = self.client().get("/modules")
        return {
            module["name"]: module["status"]["runtimeStatus"]["status"]
            for module in answer["modules"]
        }

    def stop_edged(self) -> None:
        """End edged; its containers stay."""
        if self.edged is not None and self.thread is not None:
            self.edged.supervisor.stop(DEADLINE_SECONDS)
            self.edged.server.stop()
            self.thread.join()
            self.edged = self.thread = None
        if self.process is not None:
            self.process.terminate()
            self.process.wait(DEADLINE_SECONDS)
            self.process = None

    def stop(self) -> None:
        """End everything."""
        self.stop_edged()
        self.services.stop()
