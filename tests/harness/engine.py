"""A real Moby of the tests' own: private socket, data, network; ended by its process id.

Its one image is empty: containers borrow the machine's /usr, read-only, so that a test needs no
registry and no package, and can run python3 inside.
"""

import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

IMAGE = "localhost/test/machine:1"
SLEEPING_AGENT = f"""
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
Cmd = ["/bin/sleep", "3600"]
StopSignal = "SIGKILL"
[agent.config.createOptions.HostConfig]
Binds = ["/usr:/usr:ro"]
"""
"""A device whose agent only sleeps, in a container in which tests run what they want."""
_START_SECONDS = 60
_STOP_SECONDS = 30


@dataclass(frozen=True)
class Moby:
    """A running engine; `api` is for what a test arranges or looks at behind our back."""

    socket: Path
    api: Any

    @property
    def uri(self) -> str:
        return f"unix://{self.socket}"

    def image_id(self) -> str:
        return str(self.api.inspect_image(IMAGE)["Id"])

    def remove_containers(self) -> None:
        for container in self.api.containers(all=True):
            self.api.remove_container(container["Id"], force=True, v=True)

    def clean(self) -> None:
        """Remove what would outlive the engine: processes, and bridges of the machine."""
        self.remove_containers()
        for network in self.api.networks():
            if network["Driver"] == "bridge":
                self._empty(network["Id"])
                self.api.remove_network(network["Id"])

    def _empty(self, network: str) -> None:
        """Take away the ends of containers that are gone; a busy engine forgets some."""
        for container in self.api.inspect_network(network)["Containers"] or {}:
            self.api.disconnect_container_from_network(
                container.removeprefix("ep-"), network, force=True
            )


def borrowed(*command: str, binds: tuple[str, ...] = ()) -> dict[str, object]:
    """Return createOptions of a container that runs a command of this machine."""
    return {"Cmd": list(command), "HostConfig": {"Binds": ["/usr:/usr:ro", *binds]}}


def missing_prerequisite() -> str | None:
    """Say what this machine lacks for an engine of our own."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("dockerd") is None:
        return "needs dockerd (package docker.io)"
    return None


@contextmanager
def moby(folder: Path) -> Iterator[Moby]:
    """Run an engine below `folder` and leave nothing of it behind."""
    address = folder / "docker.sock"
    process = _start(folder, address)
    try:
        api = _connect(process, address, folder / "dockerd.log")
        engine = Moby(address, api)
        try:
            api.import_image_from_data(_root(), repository=IMAGE.rpartition(":")[0], tag="1")
            yield engine
        finally:
            engine.clean()
            api.close()
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        finally:
            process.kill()
            process.wait()


def _start(folder: Path, address: Path) -> subprocess.Popen[bytes]:
    command = [
        "dockerd",
        f"--host=unix://{address}",
        f"--data-root={folder / 'data'}",
        f"--exec-root={folder / 'exec'}",
        f"--pidfile={folder / 'dockerd.pid'}",
        "--bridge=none",
        "--iptables=false",
        "--storage-driver=vfs",
    ]
    with (folder / "dockerd.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _connect(process: subprocess.Popen[bytes], address: Path, log: Path) -> Any:
    deadline = time.monotonic() + _START_SECONDS
    while not address.exists():
        assert process.poll() is None, f"dockerd ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"dockerd is not up: {log.read_text()[-2000:]}"
        time.sleep(0.05)
    # the socket is there before the engine is: the first call is answered when it is
    api = docker.APIClient(f"unix://{address}", version="auto", timeout=_START_SECONDS)
    api.ping()
    return api


def _root() -> bytes:
    """Return the image's tree: mount points and the links of a merged /usr."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in ("usr", "etc", "tmp", "run", "var"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in ("bin", "sbin", "lib", "lib64"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(link)
    return data.getvalue()
