"""This machine, put together for the verbs that change its configuration."""

import os
import socket
from pathlib import Path

from skerry import __version__
from skerry.base.clock import SystemClock
from skerry.base.errors import SkerryError
from skerry.config.apply import Device, Services
from skerry.config.disk import RealDisk
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
    return Device(
        hostname=socket.gethostname(),
        version=__version__,
        source=MachineFiles(seed),
        services=services,
        disk=RealDisk(),
        clock=SystemClock(),
        ids=Ids() if rendering else service_ids(),
    )
