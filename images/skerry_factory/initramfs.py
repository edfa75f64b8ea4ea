"""The initramfs and the kernel image of a definition, made from the bootstrapped tree alone.

Roles do not change them, so they are made beside the roles and are cached apart from them. The
modules are those of overlay/etc/initramfs-tools/modules: a list that is the same on every machine,
and a third of what Debian's default carries.
"""

from collections.abc import Sequence
from pathlib import Path

from skerry_factory.architecture import Architecture
from skerry_factory.command import run_command
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError
from skerry_factory.tree import copy_plain_files, enterable, mounted_tree
from skerry_factory.uki import build_uki

INSIDE = "run/initrd"
OWN_FILES = "etc/initramfs-tools"
"""Part of an overlay that the initramfs is made with."""


def kernel_release(tree: Path) -> str:
    """Return the release of the one kernel of a tree."""
    found = sorted(path.name.removeprefix("vmlinuz-") for path in tree.glob("boot/vmlinuz-*"))
    if len(found) != 1:
        raise FactoryError(
            f"the tree has {len(found)} kernels, expected one; "
            "name one such as 'linux-image-amd64' in [system] packages"
        )
    return found[0]


def build_kernel_image(
    base: Path,
    architecture: Architecture,
    overlays: Sequence[Path],
    cmdline: Sequence[str],
    out: Path,
) -> None:
    """Fill `out` with skerry.efi (the unified kernel image) and the boot loader, BOOT….EFI."""
    initrd = make_initramfs(base, overlays, out)
    (out / "skerry.efi").write_bytes(unified_image(base, architecture, initrd, cmdline))
    loader = (base / architecture.boot_loader).read_bytes()
    (out / architecture.boot_file).write_bytes(loader)


def unified_image(
    base: Path, architecture: Architecture, initrd: bytes, cmdline: Sequence[str]
) -> bytes:
    """Return a unified kernel image of the tree's kernel."""
    release = kernel_release(base)
    sections = {
        ".osrel": (base / "usr/lib/os-release").read_bytes(),
        ".cmdline": " ".join(cmdline).encode() + b"\0",
        ".uname": release.encode(),
        ".linux": (base / f"boot/vmlinuz-{release}").read_bytes(),
        ".initrd": initrd,
    }
    return build_uki((base / architecture.stub).read_bytes(), sections, SOURCE_DATE_EPOCH)


def make_initramfs(base: Path, overlays: Sequence[Path], out: Path) -> bytes:
    """Return an initramfs for the tree's kernel; a later overlay wins; works in `out`."""
    release, work = kernel_release(base), out / "work"
    work.mkdir()
    with mounted_tree([base], work) as tree:
        for overlay in overlays:
            copy_plain_files(overlay / OWN_FILES, tree.root / OWN_FILES)
        made = tree.root / INSIDE
        with enterable(tree.root):
            inside = ["chroot", str(tree.root), "mkinitramfs", "-o", f"/{INSIDE}", release]
            run_command(inside)
            data = made.read_bytes()
    run_command(["rm", "-rf", str(work)])
    return data
