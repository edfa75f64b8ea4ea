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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@dataclass
class Daemon:
    """dockerd as a process; killed or stopped it can be started again."""

    folder: Path
    data: Path
    trust: Path | None = None
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    def start(self) -> None:
        """Start it unless it runs, and wait for its socket."""
        if self.process is not None and self.process.poll() is None:
            return
        self.socket.unlink(missing_ok=True)
        (self.folder / "dockerd.pid").unlink(missing_ok=True)
        command = [
            "dockerd",
            f"--host=unix://{self.socket}",
            f"--data-root={self.data}",
            f"--exec-root={self.folder / 'exec'}",
            f"--pidfile={self.folder / 'dockerd.pid'}",
            "--bridge=none",
            "--iptables=false",
            "--storage-driver=vfs",
            *self.options,
        ]
        trusted = {} if self.trust is None else {"SSL_CERT_FILE": str(self.trust)}
        path = self.folder / "dockerd.log"
        with path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, **trusted},
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.socket.exists():
            assert self.process.poll() is None, f"dockerd ended: {path.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"dockerd is not up: {path.read_text()[-2000:]}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once; containers go on.

        Its containerd ends with it. Where nobody reaps that, its number looks alive, and the next
        engine would wait for it.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_SECONDS)
            finally:
                self.kill()
                self._unmount()

    def _unmount(self) -> None:
        """Take away what a killed engine left mounted; an engine that ends in order does it."""
        places = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        lost = [place for place in places if place.startswith(f"{self.folder}/")]
        for place in reversed(lost if self.data.parent == self.folder else []):
            subprocess.run(["umount", "--lazy", place], check=False, stderr=subprocess.DEVNULL)


@dataclass(frozen=True)
class Moby:
    """A running engine; `api` is for what a test arranges or looks at behind our back."""

    socket: Path
    api: Any
    daemon: Daemon

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
def moby(
    folder: Path,
    *,
    trust: Path | None = None,
    data: Path | None = None,
    options: Sequence[str] = (),
) -> Iterator[Moby]:
    """Run an engine below `folder` and leave nothing of it behind.

    It believes registries that `trust` has signed, keeps its images in `data`, and takes further
    options of dockerd.
    """
    daemon = Daemon(folder, data or folder / "data", trust, tuple(options))
    daemon.start()
    try:
        api = _connect(daemon)
        engine = Moby(daemon.socket, api, daemon)
        try:
            api.import_image_from_data(root_tree(), repository=IMAGE.rpartition(":")[0], tag="1")
            yield engine
        finally:
            daemon.start()
            engine.clean()
            api.close()
    finally:
        daemon.stop()


def _connect(daemon: Daemon) -> Any:
    # the socket is there before the engine is: the first call is answered when it is
    api = docker.APIClient(f"unix://{daemon.socket}", version="auto", timeout=_START_SECONDS)
    api.ping()
    return api


def root_tree(content: bytes = b"") -> bytes:
    """Return the image's tree: mount points and the links of a merged /usr, and some content."""
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
        if content:
            file = tarfile.TarInfo("content")
            file.size = len(content)
            tar.addfile(file, io.BytesIO(content))
    return data.getvalue()
