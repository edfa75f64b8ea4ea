"""The files of an image as one tar archive, for those who make disks or containers by themselves.

What lies on the data partition of a disk is in its place here, and there is no fstab: a tree has no
partitions. Entries are sorted, times are those of the tree, which the build has clamped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skerry_factory.command import run_command
from skerry_factory.finish import PERSISTENT, FinishedTree

TAR = "tar"
_NOT_OF_A_TREE = ("./etc/fstab",)
_FORMAT = (
    "--format=posix",
    # the names of extended headers hold a process id otherwise; the times are of the build
    "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
    "--sort=name",
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=security.capability",
)


def write_tree(tree: FinishedTree, target: Path) -> Path:
    """Write the archive; to be called inside the mount namespace of the build."""
    with _joined(tree):
        left_out = [f"--exclude={name}" for name in _NOT_OF_A_TREE]
        files = ["--directory", str(tree.root), "."]
        run_command(["tar", "--create", f"--file={target}", *_FORMAT, *left_out, *files])
    return target


@contextmanager
def _joined(tree: FinishedTree) -> Iterator[None]:
    bound: list[Path] = []
    try:
        for name, source in PERSISTENT.items():
            run_command(["mount", "--bind", str(tree.data / source), str(tree.root / name)])
            bound.append(tree.root / name)
        yield
    finally:
        for folder in reversed(bound):
            run_command(["umount", str(folder)])
