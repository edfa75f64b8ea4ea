"""SSH to one appliance: a configuration of its own, a pinned host key, one shared connection.

Nothing of the operator's own SSH configuration is read. Logging in costs most on an emulated
machine, so all commands go through one connection, which ends with the context that made it.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skerry.base.files import write_atomic

ALIAS = "appliance"
END_SECONDS = 30.0


@dataclass(frozen=True)
class Target:
    """A running appliance and what is needed to log in as its administrator."""

    host: str
    port: int
    user: str
    identity_file: Path
    known_hosts: Path

    def ssh_config(self, sockets: Path) -> str:
        """The whole SSH configuration; the socket of the connection lies in `sockets`."""
        options = {
            "HostName": self.host,
            "Port": self.port,
            "User": self.user,
            "IdentityFile": _quoted(self.identity_file),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": _quoted(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": 20,
            "ServerAliveInterval": 15,
            "LogLevel": "ERROR",
            "ControlMaster": "auto",
            "ControlPersist": 120,
            "ControlPath": _quoted(sockets / "%C"),
        }
        lines = [f"Host {ALIAS}", *(f"  {key} {value}" for key, value in options.items())]
        return "\n".join(lines) + "\n"


@contextmanager
def shared_connection(target: Target, config: Path) -> Iterator[Path]:
    """Write the configuration file; `ssh -F FILE appliance …` shares a connection until the end."""
    # a socket's path may have 107 characters, so it does not lie beside the configuration
    with tempfile.TemporaryDirectory(prefix="skerry-ssh-") as sockets:
        write_atomic(config, target.ssh_config(Path(sockets)).encode(), mode=0o600)
        try:
            yield config
        finally:
            end = ["ssh", "-F", str(config), "-O", "exit", ALIAS]
            subprocess.run(end, capture_output=True, timeout=END_SECONDS, check=False)


def _quoted(path: Path) -> str:
    return f'"{path.absolute()}"'
