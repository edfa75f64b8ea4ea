"""A device in a folder: its disk, and services that read their settings as the real ones do."""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from skerry.base.settings import load_settings, settings_digest
from skerry.config.apply import Device, ServiceError
from skerry.config.disk import Disk, RealDisk
from skerry.config.site import SERVICES, Ids, Paths


class PowerCut(BaseException):
    """The machine stops here; nothing that follows reaches the disk."""


class FailingDisk:
    """Counts the changes to a disk, and fails one of them.

    With PowerCut every later change fails too, as on a machine without power; an OSError is for
    that one change alone. A failing write has left its temporary file.
    """

    def __init__(self, fail_at: int = -1, error: BaseException | None = None) -> None:
        self._real: Disk = RealDisk()
        self._fail_at = fail_at
        self._error = error or PowerCut()
        self.changes: list[str] = []

    def _count(self, change: str, path: Path) -> None:
        number = len(self.changes)
        self.changes.append(f"{change} {path.name}")
        last = isinstance(self._error, PowerCut)
        if number == self._fail_at or (last and 0 <= self._fail_at < number):
            if change == "write" and number == self._fail_at and path.parent.is_dir():
                (path.parent / f".{path.name}.torn.tmp").write_bytes(b"ha")
            raise self._error

    def make_folder(self, path: Path, mode: int, uid: int | None = None) -> None:
        if not path.is_dir():
            self._count("make", path)
        self._real.make_folder(path, mode, uid)

    def write(
        self, path: Path, data: bytes, mode: int, uid: int | None = None, gid: int | None = None
    ) -> None:
        self._count("write", path)
        self._real.write(path, data, mode, uid, gid)

    def rename(self, old: Path, new: Path) -> None:
        self._count("rename", new)
        self._real.rename(old, new)

    def switch(self, link: Path, target: str) -> None:
        self._count("switch", link)
        self._real.switch(link, target)

    def remove(self, path: Path) -> None:
        self._count("remove", path)
        self._real.remove(path)

    def remove_folder(self, path: Path) -> None:
        self._count("remove", path)
        self._real.remove_folder(path)


@dataclass
class RunningServices:
    """Services that take their settings when they are restarted; `refusing` fail on new ones."""

    etc: Path
    refusing: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    interrupt: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def present(self, service: str) -> bool:
        return service not in self.absent

    def restart(self, services: Sequence[str]) -> None:
        self.log.append("restart " + " ".join(services))
        for service in services:
            load_settings(self.etc / service)
            self.digests[service] = settings_digest(self.etc / service)

    def await_digest(self, service: str, digest: str) -> None:
        if self.interrupt:
            raise KeyboardInterrupt
        if service in self.refusing:
            raise ServiceError(f"{service} refused its settings")
        assert self.digests[service] == digest


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


class FolderFiles:
    """Reads the files that a configuration names below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        where = Path(path)
        return (where if where.is_relative_to(self.root) else self.root / path[1:]).read_bytes()


def make_device(folder: Path, disk: Disk | None = None) -> Device:
    """Return a device whose /etc/skerry, /var/lib/skerry and other files lie in a folder."""
    paths = Paths(folder / "etc", folder / "state")
    for service in SERVICES:
        (paths.etc / service / "config.d").mkdir(parents=True, exist_ok=True)
        link = paths.etc / service / "config.d" / "00-super.toml"
        if not link.is_symlink():
            link.symlink_to(f"../../current/{service}.toml")
    mine = os.getuid()
    return Device(
        hostname="machine",
        version="1.2.3",
        source=FolderFiles(folder),
        services=RunningServices(paths.etc),
        disk=disk or RealDisk(),
        clock=StoppedClock(),
        paths=paths,
        ids=Ids(mine, mine, mine, mine, mine),
    )


def settings_in_force(device: Device, service: str) -> dict[str, object]:
    """Return the settings that a service would read now."""
    return tomllib.loads((device.paths.current / f"{service}.toml").read_text())
