"""The initramfs and the kernel image of a definition, made from the bootstrapped tree alone.

Roles do not change them, so they are made beside the roles and are cached apart from them. The
modules are those of overlay/etc/initramfs-tools/modules: a list that is the same on every machine,
and a third of what Debian's default carries.
"""

from collections.abc import Sequence
from pathlib import Path

from skerry_factory.command import run_command
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError
from skerry_factory.tree import copy_plain_files, enterable, mounted_tree
from skerry_factory.uki import build_uki

STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
INSIDE = "run/initrd"
BOOT_LOADER = "usr/lib/systemd/boot/efi/systemd-bootx64.efi"


def kernel_release(tree: Path) -> str:
    """Return the release of the one kernel of a tree."""
    found = sorted(path.name.removeprefix("vmlinuz-") for path in tree.glob("boot/vmlinuz-*"))
    if len(found) != 1:
        raise FactoryError(
            f"the tree has {len(found)} kernels, expected one; "
            "name one such as 'linux-image-amd64' in [system] packages"
        )
    return found[0]


def build_kernel_image(base: Path, overlay: Path, cmdline: Sequence[str], out: Path) -> None:
    """Fill `out` with skerry.efi (the unified kernel image) and BOOTX64.EFI."""
    release = kernel_release(base)
    initrd = _initramfs(base, overlay, release, out)
    sections = {
        ".osrel": (base / "usr/lib/os-release").read_bytes(),
        ".cmdline": " ".join(cmdline).encode() + b"\0",
        ".uname": release.encode(),
        ".linux": (base / f"boot/vmlinuz-{release}").read_bytes(),
        ".initrd": initrd,
    }
    image = build_uki((base / STUB).read_bytes(), sections, SOURCE_DATE_EPOCH)
    (out / "skerry.efi").write_bytes(image)
    (out / "BOOTX64.EFI").write_bytes((base / BOOT_LOADER).read_bytes())


def _initramfs(base: Path, overlay: Path, release: str, out: Path) -> bytes:
    work = out / "work"
    work.mkdir()
    with mounted_tree([base], work) as tree:
        copy_plain_files(overlay / "etc/initramfs-tools", tree.root / "etc/initramfs-tools")
        made = tree.root / INSIDE
        with enterable(tree.root):
            inside = ["chroot", str(tree.root), "mkinitramfs", "-o", f"/{INSIDE}", release]
            run_command(inside)
            data = made.read_bytes()
    run_command(["rm", "-rf", str(work)])
    return data
