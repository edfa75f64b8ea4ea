"""The tree of an image while it is worked on: an overlay of cached layers, entered like a machine.

Everything here happens inside the build's own mount namespace. The tree sees a read-only /proc, a
/dev of six bound nodes, empty /run and /tmp that vanish with the mount, and no /sys.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from skerry_factory.command import run_command
from skerry_factory.errors import FactoryError

DEVICE_NODES = ("null", "zero", "full", "random", "urandom", "tty")
VOLATILE = ("run", "tmp", "var/tmp")
END_SECONDS = 10.0
POLL_SECONDS = 0.05
BUILD_FILES = Path("var/cache/skerry-build")


@dataclass(frozen=True)
class MountedTree:
    """A tree whose changes go to `upper`."""

    root: Path
    upper: Path


@contextmanager
def mounted_tree(layers: Sequence[Path], work: Path) -> Iterator[MountedTree]:
    """Mount `layers` (lowest first) with a new upper folder in `work`; unmounts at the end."""
    upper, scratch, root = (work / name for name in ("upper", "scratch", "root"))
    for folder in (upper, scratch, root):
        folder.mkdir()
    lower = ":".join(_escaped(layer) for layer in reversed(layers))
    options = f"userxattr,lowerdir={lower},upperdir={_escaped(upper)},workdir={_escaped(scratch)}"
    run_command(["mount", "-t", "overlay", "overlay", "-o", options, str(root)])
    try:
        yield MountedTree(root, upper)
    finally:
        run_command(["umount", str(root)])


@contextmanager
def enterable(root: Path, build_files: Path | None = None) -> Iterator[None]:
    """Make a tree fit to run programs in; asserts at the end that none is left."""
    if build_files is not None:
        # a snapshot taken between two roles has the folder already
        (root / BUILD_FILES).mkdir(parents=True, exist_ok=True)
    try:
        _mount_system(root, build_files)
        yield
        left = processes_in(root)
        if left:
            raise FactoryError(
                "process(es) still run in the image tree after the roles: "
                f"{', '.join(left.values())}; phase install must not start anything"
            )
    finally:
        _end_processes_in(root)
        for mount in reversed(_mounts_below(root)):
            run_command(["umount", "--lazy", mount])
        if build_files is not None:
            (root / BUILD_FILES).rmdir()


def processes_in(root: Path) -> dict[int, str]:
    """Return pid and `name (pid)` of every process whose root folder is the tree, or inside it."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            seen = (process / "root").readlink()
            name = (process / "comm").read_text().strip()
        except OSError:
            continue
        if seen.is_relative_to(root):
            found[int(process.name)] = f"{name} ({process.name})"
    return found


def _end_processes_in(root: Path) -> None:
    """End what a failed role left running; it would keep the tree mounted."""
    deadline = time.monotonic() + END_SECONDS
    while (left := processes_in(root)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def copy_plain_files(source: Path, root: Path) -> None:
    """Copy a folder of the checkout into a tree: owner root, mode by the executable bit."""
    for folder, folders, files in os.walk(source):
        target = root / Path(folder).relative_to(source)
        if not target.is_dir():
            target.mkdir()
            target.chmod(0o755)
        for name in [*files, *(name for name in folders if (Path(folder) / name).is_symlink())]:
            _copy_plain(Path(folder) / name, target / name)


def _copy_plain(file: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    if file.is_symlink():
        target.symlink_to(file.readlink())
        return
    shutil.copyfile(file, target)
    os.chown(target, 0, 0)
    target.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)


def _mount_system(root: Path, build_files: Path | None) -> None:
    run_command(["mount", "-t", "proc", "-o", "ro,nosuid,nodev,noexec", "proc", str(root / "proc")])
    for name in ("dev", *VOLATILE):
        mode = "0755" if name in ("dev", "run") else "1777"
        run_command(["mount", "-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", str(root / name)])
    for name in DEVICE_NODES:
        (root / "dev" / name).touch()
        run_command(["mount", "--bind", f"/dev/{name}", str(root / "dev" / name)])
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (root / "dev" / name).symlink_to(f"/proc/self/{target}")
    (root / "dev" / "shm").mkdir()
    if build_files is not None:
        inside = str(root / BUILD_FILES)
        run_command(["mount", "--bind", str(build_files), inside])
        run_command(["mount", "-o", "remount,bind,ro", inside])


def _mounts_below(root: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    points = [line.split(" ")[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in points if point.startswith(f"{root}/")]


def _escaped(path: Path) -> str:
    text = str(path).replace("\\", "\\\\")
    return text.replace(":", "\\:").replace(",", "\\,")
