"""The folder of sockets that each module sees as /run/iotedge.

    <state>/mnt/<module>/workload.sock    0666
    <state>/mnt/edgeAgent/mgmt.sock       0666, and answers nobody but the agent

Folders are 0755 and stay as long as the module; the sockets in them are new whenever edged starts.
A folder is there before its container is made.
"""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from skerry.base.http import Router
from skerry.base.server import Listener, Server
from skerry.base.sockets import bind_unix
from skerry.workloads.errors import SocketError

ENDPOINT = "workload:"
AGENT_ENDPOINT = "mgmt:agent"
_FOLDER_MODE = 0o755
_SOCKET_MODE = 0o666


class ModuleSockets:
    """Makes and removes the sockets of modules; they are served while they exist.

    `router` gives the routes of "workload", and of "agent" for the agent's mgmt.sock.
    """

    def __init__(
        self,
        folder: Path,
        server: Server,
        *,
        agent: str,
        router: Callable[[str], Router],
        workload_requests: int,
        management_requests: int,
    ) -> None:
        self._folder = folder
        self._server = server
        self._agent = agent
        self._router = router
        self._limits = (workload_requests, management_requests)
        self._lock = threading.Lock()
        self._listeners: dict[str, list[Listener]] = {}

    def ensure(self, module: str) -> Path:
        """Serve a module's sockets and return their folder; raises SocketError."""
        folder = self._folder / module
        with self._lock:
            if module not in self._listeners:
                try:
                    self._listeners[module] = self._open(module, folder)
                except OSError as error:
                    raise SocketError(
                        f"the sockets of module {module!r} cannot be made in {folder}: "
                        f"{error.strerror or error}; remove that folder and try again"
                    ) from error
        return folder

    def remove(self, module: str) -> None:
        """Stop serving a module and remove its folder."""
        with self._lock:
            for listener in self._listeners.pop(module, []):
                self._server.remove_listener(listener)
            shutil.rmtree(self._folder / module, ignore_errors=True)

    def keep_only(self, modules: set[str]) -> None:
        """Remove what former modules left."""
        for entry in self._folder.iterdir():
            if entry.name not in modules:
                self.remove(entry.name)

    def _open(self, module: str, folder: Path) -> list[Listener]:
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        folder.mkdir(exist_ok=True)
        folder.chmod(_FOLDER_MODE)
        workload, management = self._limits
        wanted = [("workload.sock", ENDPOINT + module, workload)]
        if module == self._agent:
            wanted.append(("mgmt.sock", AGENT_ENDPOINT, management))
        listeners: list[Listener] = []
        try:
            for name, endpoint, limit in wanted:
                listeners.append(self._listen(folder, name, endpoint, limit))
        except BaseException:
            for listener in listeners:
                listener.sock.close()
            raise
        for listener in listeners:
            self._server.add_listener(listener)
        return listeners

    def _listen(self, folder: Path, name: str, endpoint: str, limit: int) -> Listener:
        _remove_folder(folder / name)
        # the address of a socket has 108 bytes; through the descriptor a module's name may be long
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock = bind_unix(Path(f"/proc/self/fd/{descriptor}") / name, mode=_SOCKET_MODE)
        finally:
            os.close(descriptor)
        router = self._router("agent" if endpoint == AGENT_ENDPOINT else "workload")
        return Listener(endpoint, sock, router, limit)


def _remove_folder(path: Path) -> None:
    """Remove a folder that an engine made where a socket should be."""
    try:
        path.rmdir()
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
            raise
