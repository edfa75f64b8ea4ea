"""The last changes of a tree before it becomes a disk: plain files, clean-up, the data part.

The folders that outlive a slot move to a tree of their own, the data partition's; empty mount
points stay. The result of the same layers is the same tree.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skerry_factory.bootstrap import LOGS, UNREPEATABLE, clamp_times, empty_folders, remove_from
from skerry_factory.command import run_command
from skerry_factory.definition import Definition
from skerry_factory.errors import HygieneError
from skerry_factory.hygiene import find_leaks
from skerry_factory.tree import copy_plain_files, mounted_tree

PERSISTENT = {
    "etc/skerry": "etc/skerry",
    "var/lib/skerry": "lib/skerry",
    "var/lib/docker": "lib/docker",
    "var/lib/containerd": "lib/containerd",
}
"""Folder of the OS, and where it lies on the data partition."""

HOSTNAME = "usr/lib/skerry/hostname"
"""Template of the name that a device has until a seed names it; read by overlay/usr/lib/skerry."""

NETWORKD = "systemd-networkd.service"

REMOVED = (
    "root/.ansible",
    "root/.cache",
    "etc/.pwd.lock",
    "var/lib/dbus/machine-id",
    "**/*.dpkg-old",
)
REMOVED_LOGS = ("var/log/*.log", "var/log/journal/*", "var/log/[bw]tmp*", "var/log/lastlog")
EMPTIED = ("dev", "run", "tmp", "var/tmp", "var/cache/apt", "var/lib/apt/lists")


@dataclass(frozen=True)
class FinishedTree:
    """The two trees of a disk."""

    root: Path
    data: Path


@contextmanager
def finished_tree(
    layers: list[Path], work: Path, definition: Definition, apt_sources: str
) -> Iterator[FinishedTree]:
    """Yield the trees of root and data, complete and clean; raises HygieneError."""
    data = work / "data"
    data.mkdir()
    with mounted_tree(layers, work) as tree:
        for overlay in definition.overlays:
            copy_plain_files(overlay, tree.root)
        (tree.root / HOSTNAME).write_text(f"{definition.hostname}\n", "utf-8")
        for name, text in definition.system_files.render().items():
            (tree.root / name).parent.mkdir(parents=True, exist_ok=True)
            (tree.root / name).write_text(text, "utf-8")
        if definition.system_files.interfaces:
            enable_networkd(tree.root)
        scrub(tree.root)
        split(tree.root, data)
        (tree.root / "data").mkdir(exist_ok=True)
        clamp_times([tree.root, data])
        leaks = [*find_leaks(tree.root), *find_leaks(data), *other_sources(tree.root, apt_sources)]
        if leaks:
            raise HygieneError(leaks)
        yield FinishedTree(tree.root, data)


def enable_networkd(root: Path) -> None:
    """Start systemd-networkd with the system; the roles do so for DHCP only."""
    link = root / "etc/systemd/system/multi-user.target.wants" / NETWORKD
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(f"/usr/lib/systemd/system/{NETWORKD}")


def scrub(root: Path) -> None:
    """Remove what the build left in a tree."""
    remove_from(root, [*REMOVED, *REMOVED_LOGS, *LOGS, *UNREPEATABLE])
    empty_folders(root, EMPTIED)
    machine_id = root / "etc/machine-id"
    machine_id.unlink(missing_ok=True)
    machine_id.touch(0o444)


def other_sources(root: Path, expected: str) -> list[str]:
    """Return findings about apt sources that are not those of a sealed image."""
    file = root / "etc/apt/sources.list"
    if file.is_file() and file.read_text("utf-8") != expected:
        return ["etc/apt/sources.list: the mirror of the build; role 'seal' writes this file"]
    return []


def split(root: Path, data: Path) -> None:
    """Move what outlives a slot to the tree of the data partition."""
    for name, target in PERSISTENT.items():
        source, there = root / name, data / target
        there.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            run_command(["cp", "-a", str(source), str(there)])
            empty_folders(root, [name])
        else:
            source.mkdir(parents=True)
            there.mkdir()
    for folder in (data, *data.rglob("*")):
        if folder.is_dir() and folder.relative_to(data).as_posix() in ("etc", "lib", "."):
            folder.chmod(0o755)
