"""A device with a real Moby, edged as a process, and the real agent in its container.

The agent's container is that of the tests' one image: it borrows the machine's /usr and this
tree's `runtime`, so that no image has to be built.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import requests

from harness.edged import House
from harness.engine import IMAGE, Moby, borrowed
from skerry.base.client import ApiError, UnreachableError

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"
CONFIG = f"""
hostname = "house"
[provisioning]
source = "standalone"
[agent]
name = "edgeAgent"
type = "docker"
imagePullPolicy = "never"
[agent.config]
image = "{IMAGE}"
[agent.config.createOptions]
Cmd = ["/usr/bin/python3", "-m", "skerry.agent.service"]
User = "0:0"
Env = ["PYTHONPATH=/skerry", "PYTHONDONTWRITEBYTECODE=1"]
[agent.config.createOptions.HostConfig]
Binds = ["/usr:/usr:ro", "{RUNTIME}:/skerry:ro"]
"""


class Device:
    """What a test asks of it: deployments, what runs, kills."""

    def __init__(self, folder: Path, moby: Moby) -> None:
        self.moby = moby
        self.house = House(folder, moby.uri)
        self._last: object = None

    def deploy(self, modules: dict[str, Any], **properties: Any) -> None:
        """Put a deployment, another one than the last, in force by hand."""
        self._last = self._newest()
        wanted = {"schemaVersion": "1.1", "trialSeconds": 1, "modules": modules, **properties}
        content = {"$edgeAgent": {"properties.desired": wanted}}
        self.house.client().put("/deployment", {"modulesContent": content})

    def state(self) -> dict[str, Any]:
        """Return where the agent says that the deployment has got to; empty before it did."""
        try:
            found: Any = self.house.client().get("/deployment/history")
        except (ApiError, UnreachableError):
            return {}  # edged was killed, or nothing has been reported yet
        return dict(found)

    def is_settled(self) -> bool:
        """Tell whether the last deployment has ended, well or not."""
        return self.state().get("phase") == "idle" and self._newest() != self._last

    def _newest(self) -> object:
        """Return the last line of the history, which keeps fifty."""
        return next(reversed(self.state().get("history", [])), None)

    def running(self) -> dict[str, str]:
        """Return the environment variable GENERATION of every module that runs."""
        found = {}
        try:
            containers = self.moby.api.containers()
        except (docker.errors.DockerException, requests.RequestException):
            return {}  # the engine was killed
        for container in containers:
            try:
                seen = self.moby.api.inspect_container(container["Id"])
            except docker.errors.NotFound:
                continue  # between the old one and the new one
            env = dict(entry.partition("=")[::2] for entry in seen["Config"]["Env"])
            if seen["State"]["Running"] and "GENERATION" in env:
                found[seen["Name"].lstrip("/")] = env["GENERATION"]
        return found

    def agent_pid(self) -> int:
        """Return the agent's process, 0 while it does not run."""
        return int(self.moby.api.inspect_container("edgeAgent")["State"]["Pid"])

    def kill_agent(self) -> None:
        """End the agent as a crash does."""
        pid = self.agent_pid()
        if pid:
            os.kill(pid, signal.SIGKILL)

    def kill_engine(self) -> None:
        """End the engine as a crash does, and start it as systemd would."""
        self.moby.daemon.kill()
        self.moby.daemon.start()

    def kill_edged(self) -> None:
        """End edged as a crash does, and start it as systemd would."""
        assert self.house.process is not None
        self.house.process.kill()
        self.house.process.wait(30)
        self.house.spawn(log_level="info")


@contextmanager
def agent_device(folder: Path, moby: Moby) -> Iterator[Device]:
    """Run a device; nothing of it is left."""
    device = Device(folder, moby)
    device.house.configure(CONFIG)
    device.house.spawn_security()
    device.house.spawn(log_level="info")
    try:
        yield device
    finally:
        device.house.stop()
        moby.remove_containers()


def sleeper(generation: str, *command: str, image: str = IMAGE, **fields: Any) -> dict[str, Any]:
    """Return a module that sleeps unless it is told to do something else."""
    options = {**borrowed(*(command or ("/bin/sleep", "36000"))), "StopSignal": "SIGKILL"}
    return {
        "type": "docker",
        "imagePullPolicy": "never",
        "restartPolicy": "always",
        "settings": {"image": image, "createOptions": options},
        "env": {"GENERATION": {"value": generation}},
        **fields,
    }


def seconds_until(condition: Callable[[], object], what: str, limit: float = 120) -> float:
    """Return how long a condition took; looks every 5 ms."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit, f"not within {limit} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - began
