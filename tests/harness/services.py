"""Native services as real processes, each with folders and sockets of its own."""

import os
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 20

MODULES = {
    "keyd": "skerry.keys.service",
    "certd": "skerry.certs.service",
    "identityd": "skerry.identity.service",
}


@dataclass
class Services:
    """Starts services below one folder: `<name>/{config,state}` and `<name>.sock`."""

    folder: Path
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def socket(self, name: str) -> Path:
        """Return the socket of a service."""
        return self.folder / f"{name}.sock"

    def configure(self, name: str, settings: str) -> None:
        """Write the settings of a service."""
        path = self.folder / name / "config" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(settings)

    def spawn(self, name: str, *options: str) -> subprocess.Popen[str]:
        """Start a service without waiting for it."""
        peers = [f"--peer={peer}={self.socket(peer)}" for peer in MODULES if peer != name]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                MODULES[name],
                f"--config-dir={self.folder / name / 'config'}",
                f"--state-dir={self.folder / name / 'state'}",
                f"--socket={name}={self.socket(name)}",
                *peers,
                *options,
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "SKERRY_LOG": "info"},
        )
        self.running[name] = process
        return process

    def start(self, name: str, *options: str) -> subprocess.Popen[str]:
        """Start a service and wait until it serves."""
        process = self.spawn(name, *options)
        assert process.stderr is not None
        said = ""
        while "started" not in said:
            ready, _, _ = select.select([process.stderr], [], [], START_SECONDS)
            line = process.stderr.readline() if ready else ""
            assert line, f"{name} did not start: {said}"
            said += line
        return process

    def kill(self, name: str) -> None:
        """End a service as a power cut would."""
        process = self.running.pop(name)
        process.kill()
        process.communicate()

    def stop(self) -> None:
        """End all services."""
        for name in list(self.running):
            self.kill(name)
