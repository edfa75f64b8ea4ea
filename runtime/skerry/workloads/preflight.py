"""Whether an image can be used here: room for it before it is fetched, its architecture after.

How large an image is nobody says before it is fetched, so a fixed reserve has to be free. Where
the engine's folder cannot be looked at, the engine's own refusal has to do.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from skerry.engine.errors import EngineNotFoundError
from skerry.engine.model import Engine, Image
from skerry.workloads.errors import NoRoomError, UnfitImageError

RESERVE_BYTES = 64 * 1024 * 1024
RESERVE_INODES = 2000
_RUNS = {
    "x86_64": ("amd64", "386"),
    "aarch64": ("arm64", "arm"),
    "armv7l": ("arm",),
    "armv6l": ("arm",),
    "riscv64": ("riscv64",),
}
"""What a machine runs, in the engine's words."""


class Room(Protocol):
    """What is free in a file system, as os.statvfs tells it."""

    @property
    def f_bavail(self) -> int: ...
    @property
    def f_frsize(self) -> int: ...
    @property
    def f_files(self) -> int: ...
    @property
    def f_favail(self) -> int: ...


class Preflight:
    """Looks at images on their way to a module."""

    def __init__(
        self,
        engine: Engine,
        room: Callable[[Path], Room] = os.statvfs,
        machine: str = os.uname().machine,
    ) -> None:
        self._engine = engine
        self._room = room
        self._machine = machine

    def before(self, reference: str) -> None:
        """Refuse to fetch an image into a disk that is full; raises NoRoomError."""
        if self._find(reference) is not None:
            return
        root = self._engine.info().data_root
        try:
            room = self._room(Path(root)) if root else None
        except OSError:
            return
        if room is None:
            return
        free = room.f_bavail * room.f_frsize
        remedy = "free space, for example with: docker image prune"
        if free < RESERVE_BYTES:
            raise NoRoomError(
                f"image {reference!r} is not fetched: {free // 2**20} MiB are free in {root}, "
                f"expected {RESERVE_BYTES // 2**20} MiB at least; {remedy}"
            )
        if room.f_files and room.f_favail < RESERVE_INODES:
            raise NoRoomError(
                f"image {reference!r} is not fetched: {room.f_favail} inodes are free in {root}, "
                f"expected {RESERVE_INODES} at least; {remedy}"
            )

    def after(self, reference: str) -> None:
        """Refuse an image for another machine; raises UnfitImageError."""
        image = self._find(reference)
        known = _RUNS.get(self._machine)
        if image is None or not image.architecture or known is None:
            return
        if image.os not in ("", "linux") or image.architecture not in known:
            raise UnfitImageError(
                f"image {reference!r} is for {image.os or 'linux'}/{image.architecture}, expected "
                f"linux/{known[0]}; publish it for this machine too"
            )

    def _find(self, reference: str) -> Image | None:
        try:
            return self._engine.image(reference)
        except EngineNotFoundError:
            return None
