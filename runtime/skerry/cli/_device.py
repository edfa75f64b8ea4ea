"""This machine, put together for the verbs that change its configuration."""

import os
import socket
from pathlib import Path

from skerry import __version__
from skerry.base.clock import SystemClock
from skerry.base.errors import SkerryError
from skerry.config.apply import Device, Services
from skerry.config.disk import RealDisk
from skerry.config.hostname import no_containers
from skerry.config.machine import MachineFiles, service_ids
from skerry.config.site import Ids
from skerry.host.systemd import AtBoot, Systemd


def needs_root(what: str) -> None:
    """Refuse to go on as another user."""
    if os.geteuid() != 0:
        raise SkerryError(f"{what} needs root; run it with sudo")


def this_device(
    *, rendering: bool = False, booting: bool = False, seed: Path | None = None
) -> Device:
    """Return this machine; `rendering` asks for no users, `booting` for no services."""
    services: Services = AtBoot() if booting else Systemd(SystemClock())
    # at boot the engine has not started yet
    containers = no_containers if booting else owned_containers
    return Device(
        hostname=socket.gethostname(),
        version=__version__,
        source=MachineFiles(seed),
        services=services,
        disk=RealDisk(),
        clock=SystemClock(),
        ids=Ids() if rendering else service_ids(),
        containers=containers,
    )


def owned_containers(engine_uri: str) -> list[str]:
    """Return the names of the modules' containers; none where the machine has no engine."""
    from skerry.engine.client import MobyEngine
    from skerry.workloads.model import OWNED

    if not Path(engine_uri.removeprefix("unix://")).exists():
        return []
    engine = MobyEngine(engine_uri)
    return [engine.inspect(container).name for container in engine.containers(OWNED)]
