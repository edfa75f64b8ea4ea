"""Room for an image before it is fetched, and its architecture after."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.engine.errors import EngineNotFoundError
from skerry.engine.model import Engine, EngineInfo, Image
from skerry.workloads.errors import NoRoomError, UnfitImageError
from skerry.workloads.preflight import Preflight

MIB = 2**20


class OneImage:
    """An engine that has one image, or none; its folder is where it says."""

    def __init__(self, image: Image | None = None, root: str = "/var/lib/docker") -> None:
        self._image = image
        self._root = root

    def image(self, reference: str) -> Image:
        if self._image is None:
            raise EngineNotFoundError(reference)
        return self._image

    def info(self) -> EngineInfo:
        return EngineInfo("28", "linux", "Debian", "6.1", "x86_64", 2, 0, self._root)


@dataclass
class Free:
    """What a file system tells."""

    f_bavail: int
    f_favail: int = 100_000
    f_files: int = 200_000
    f_frsize: int = 4096


def preflight(engine: OneImage, free: Free | None = None, machine: str = "x86_64") -> Preflight:
    """Return a preflight on a machine; without `free` its folder cannot be looked at."""

    def room(path: Path) -> Free:
        if free is None:
            raise PermissionError(path)
        return free

    engine_: Engine = engine  # type: ignore[assignment]  # the two calls that count
    return Preflight(engine_, room, machine)


@pytest.mark.parametrize(
    ("free", "message"),
    [
        (Free(10 * MIB // 4096), "10 MiB are free in /var/lib/docker, expected 64 MiB at least"),
        (Free(10**9, f_favail=5), "5 inodes are free in /var/lib/docker, expected 2000 at least"),
    ],
)
def test_a_full_disk_is_told_before_anything_is_fetched(free: Free, message: str) -> None:
    """With the figures and what to do."""
    with pytest.raises(NoRoomError, match=f"image 'a:1' is not fetched: {message}; free space"):
        preflight(OneImage(), free).before("a:1")


@pytest.mark.parametrize(
    ("engine", "free"),
    [
        pytest.param(OneImage(Image("i", ())), Free(0), id="the image is there"),
        pytest.param(OneImage(), Free(10**9, f_favail=0, f_files=0), id="no inodes are counted"),
        pytest.param(OneImage(), None, id="the folder cannot be looked at"),
        pytest.param(OneImage(root=""), Free(0), id="the engine does not name it"),
        pytest.param(OneImage(), Free(10**9), id="there is room"),
    ],
)
def test_an_image_may_be_fetched(engine: OneImage, free: Free | None) -> None:
    """Where nothing is known against it."""
    preflight(engine, free).before("a:1")


@pytest.mark.parametrize(
    ("machine", "os", "architecture"),
    [("x86_64", "linux", "arm64"), ("aarch64", "linux", "amd64"), ("x86_64", "windows", "amd64")],
)
def test_an_image_for_another_machine_is_refused(machine: str, os: str, architecture: str) -> None:
    """By both names."""
    engine = OneImage(Image("i", (), os, architecture))
    with pytest.raises(UnfitImageError, match=f"image 'a:1' is for {os}/{architecture}, expected"):
        preflight(engine, machine=machine).after("a:1")


@pytest.mark.parametrize(
    ("machine", "image"),
    [
        ("x86_64", Image("i", (), "linux", "amd64")),
        ("x86_64", Image("i", (), "linux", "386")),
        ("aarch64", Image("i", (), "linux", "arm")),
        ("mips", Image("i", (), "linux", "amd64")),
        ("x86_64", Image("i", ())),
        ("x86_64", None),
    ],
)
def test_an_image_that_fits_or_cannot_be_judged_passes(machine: str, image: Image | None) -> None:
    """An unknown machine judges nothing."""
    preflight(OneImage(image), machine=machine).after("a:1")
