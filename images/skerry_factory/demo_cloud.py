"""The lab cloud of a demonstration: `skerry-lab up` on this machine, reached from within QEMU.

    FOLDER/              made anew each time
      data/              the lab's own, its root certificate in data/ca.pem
      config.toml        the device's configuration, with the lab as its cloud
      lab.out lab.log    what the lab said

The lab is a child of this process and ends with it. It takes free ports of the loopback, which
QEMU's user network shows to the guest as `GUEST_HOST`.
"""

import json
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import skerry
from skerry.config import emit
from skerry.config.build import OWN_IMAGES
from skerry_factory.command import bound_command, run_command
from skerry_factory.errors import CommandError, FactoryError
from skerry_factory.stamp import Seed

GUEST_HOST = "10.0.2.2"
_ROOT = "lab-root.pem"
_START_SECONDS = 30.0
_END_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_MONITOR_SECONDS = 5.0


@dataclass(frozen=True)
class LabCloud:
    """A lab that serves."""

    folder: Path
    endpoint: str
    id_scope: str
    mqtt_port: int

    def enrol(self, device: str, endorsement_key: str) -> None:
        """Enrol a device by its TPM. Raises: CommandError."""
        run_command(
            [
                *(str(_program()), "enrollment", "create", device, "--attestation-type", "tpm"),
                *("--endorsement-key", endorsement_key, "--data", str(self.folder / "data")),
            ]
        )

    def telemetry(self, device: str, module: str, count: int) -> list[str] | None:
        """Return the bodies of a module's first messages, None while there are fewer."""
        command = [str(_program()), "monitor", "--data", str(self.folder / "data"), "-d", device]
        command += ["-m", module, "--from", "earliest", "--message-count", str(count)]
        try:
            done = subprocess.run(
                [*command, "--output", "json"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_MONITOR_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        if done.returncode != 0:
            raise CommandError(command, done.returncode, done.stderr)
        return [str(json.loads(line)["body"]) for line in done.stdout.splitlines()]

    def seed(self, seed: Seed) -> Seed:
        """Return a seed whose device has this lab as its cloud."""
        config = self.folder / "config.toml"
        tables = tomllib.loads(seed.config.read_text("utf-8"))
        config.write_text(emit.dump(self._cloudy(tables, seed.device)), "utf-8")
        secrets = {**seed.secrets, _ROOT: self.folder / "data" / "ca.pem"}
        return replace(seed, config=config, secrets=secrets)

    def _cloudy(self, tables: dict[str, Any], device: str) -> dict[str, Any]:
        image = {"image": f"{OWN_IMAGES}agent:{skerry.__version__}"}
        own = {"name": "edgeAgent", "type": "docker", "config": image}
        agent = {**own, **tables.get("agent", {})}
        # The port of the SDKs may be taken, or not ours to take.
        port = {"UpstreamPort": str(self.mqtt_port)}
        agent["env"] = {**agent.get("env", {}), **port}
        hub = {"routes": {"telemetry": "FROM /messages/* INTO $upstream"}, **tables.get("hub", {})}
        hub["env"] = {**hub.get("env", {}), **port}
        return {
            **tables,
            "hub": hub,
            "trust_bundle_cert": f"file:///run/seed/secrets/{_ROOT}",
            "provisioning": {
                "source": "dps",
                "global_endpoint": self.endpoint,
                "id_scope": self.id_scope,
                "attestation": {"method": "tpm", "registration_id": device},
            },
            "agent": agent,
        }


@contextmanager
def running_lab(folder: Path) -> Iterator[LabCloud]:
    """Start a lab with nothing in it; leaving the context stops it. Raises: FactoryError."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [
        *(str(_program()), "up", "--data", str(folder / "data"), "--output", "json"),
        *("--host", GUEST_HOST, "--listen", "127.0.0.1", "--https-port", "0", "--mqtt-port", "0"),
    ]
    with (folder / "lab.out").open("wb") as out, (folder / "lab.log").open("wb") as log:
        process = subprocess.Popen(
            bound_command(command), stdin=subprocess.DEVNULL, stdout=out, stderr=log
        )
    try:
        yield _started(process, folder)
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _started(process: subprocess.Popen[bytes], folder: Path) -> LabCloud:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            told = json.loads((folder / "lab.out").read_text("utf-8"))
            break
        except ValueError:  # it has said nothing yet, or half of it
            if process.poll() is not None or time.monotonic() > deadline:
                said = (folder / "lab.log").read_text("utf-8", "replace").strip()
                raise FactoryError(f"skerry-lab does not serve: {said}") from None
        time.sleep(_LOOK_SECONDS)
    running = json.loads((folder / "data" / "lab.json").read_text("utf-8"))
    return LabCloud(folder, told["endpoint"], told["idScope"], running["mqtt_port"])


def _program() -> Path:
    """Return the `skerry-lab` that was installed with this factory."""
    return Path(sys.executable).with_name("skerry-lab")
