"""The files of an image as a tar archive or as a container image that starts with systemd.

What lies on the data partition of a disk is in its place here, and there is no fstab: a tree has no
partitions. Entries are sorted, times are those of the tree, which the build has clamped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skerry_factory import __version__
from skerry_factory.cache import digest_of_file
from skerry_factory.command import run_command, running_command
from skerry_factory.container_layer import store_layer
from skerry_factory.definition import Definition
from skerry_factory.finish import PERSISTENT, FinishedTree
from skerry_factory.oci import Image, write_archive_file
from skerry_factory.output import Output

TAR, OCI = "tar", "oci"
ENTRYPOINT = "/sbin/init"
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


def write_archives(definition: Definition, tree: FinishedTree, out: Path) -> list[Output]:
    """Write what the definition asks for; to be called inside the mount namespace of the build."""
    made: dict[str, Path] = {}
    if not {TAR, OCI}.isdisjoint(definition.formats):
        with _joined(tree):
            if TAR in definition.formats:
                made[TAR] = out / f"{definition.id}.tar"
                run_command([*_tar_command(tree.root), f"--file={made[TAR]}"])
            if OCI in definition.formats:
                made[OCI] = out / f"{definition.id}.oci.tar"
                write_container_image(definition, tree.root, made[OCI])
    return [Output(file, name, digest_of_file(file)) for name, file in made.items()]


def write_container_image(definition: Definition, root: Path, target: Path) -> None:
    """Write a tree as a container image: an OCI layout that `docker load` reads too."""
    stored = target.with_suffix(".layer")
    with running_command([*_tar_command(root), "--file=-"]) as archive:
        layer = store_layer(archive, stored)
    image = Image(
        ref=f"localhost/skerry/appliance/{definition.id}:{__version__}",
        arch=definition.arch,
        layers=[(layer, f"skerry-factory build {definition.id}")],
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        entrypoint=(ENTRYPOINT,),
        labels={
            "org.opencontainers.image.title": f"Skerry appliance {definition.id}",
            "org.opencontainers.image.version": __version__,
        },
    )
    write_archive_file(image, target)
    stored.unlink()


def _tar_command(root: Path) -> list[str]:
    left_out = [f"--exclude={name}" for name in _NOT_OF_A_TREE]
    return ["tar", "--create", *_FORMAT, *left_out, "--directory", str(root), "."]


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
