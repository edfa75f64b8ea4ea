"""The installer: the kernel of the image with an initramfs that writes the image to a disk.

    install.efi          unified kernel image, for a medium and for UEFI network boot
    vmlinuz, initrd.img  the same apart, for iPXE
    iso                  boots by UEFI from a CD or a stick; holds the image, packed, and its map
    pxe                  a tar of what an HTTP server has to offer; boot.ipxe says how

What it does on the machine: data/installer/scripts/skerry-installer. Digests of the image and its
map are in image.conf beside them.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from skerry_factory import __version__
from skerry_factory.architecture import Architecture
from skerry_factory.bundle import write_bundle
from skerry_factory.cache import digest_of_file, remove_tree
from skerry_factory.command import run_command
from skerry_factory.epoch import SOURCE_DATE_EPOCH, volume_id
from skerry_factory.filesystems import make_fat
from skerry_factory.initramfs import OWN_FILES, kernel_release, make_initramfs, unified_image
from skerry_factory.paths import package_data

ISO, PXE = "iso", "pxe"
KERNEL_IMAGE, KERNEL, INITRAMFS = "install.efi", "vmlinuz", "initrd.img"
MEDIUM_LABEL, SETTINGS_LABEL = "SKERRY_INSTALL", "SKERRY-CONF"
FREE_ESP_BYTES = 8 << 20
_MIB = 1 << 20
_IPXE = """#!ipxe
# Put these files into one folder of an HTTP server and let iPXE load this one.
# Without a person in front of the machine: add skerry.disk=auto to the arguments of the kernel.
kernel vmlinuz initrd=initrd.img {arguments} ip=dhcp skerry.source=${{cwduri}}
initrd initrd.img
boot
"""


def installer_inputs(overlays: Sequence[Path]) -> list[Path]:
    """Return the files and folders that decide about an installer, besides the tree."""
    return [*(overlay / OWN_FILES for overlay in _with_own(overlays)), Path(__file__)]


def build_installer(
    base: Path, architecture: Architecture, overlays: Sequence[Path], out: Path
) -> None:
    """Fill `out` with install.efi, vmlinuz and initrd.img, from a bootstrapped tree."""
    initrd = make_initramfs(base, _with_own(overlays), out)
    cmdline = command_line(architecture)
    (out / KERNEL_IMAGE).write_bytes(unified_image(base, architecture, initrd, cmdline))
    kernel = base / f"boot/vmlinuz-{kernel_release(base)}"
    (out / KERNEL).write_bytes(kernel.read_bytes())
    (out / INITRAMFS).write_bytes(initrd)


def command_line(architecture: Architecture) -> list[str]:
    """Return the arguments of the installer's kernel; it asks on both consoles."""
    return ["boot=skerry-install", f"console={architecture.console}", "console=tty0", "quiet"]


def image_conf(disk: Path, packed: Path, block_map: Path) -> bytes:
    """Return the lines `name=value` by which the installer knows the image."""
    lines = {
        "id": disk.stem,
        "version": __version__,
        "size_bytes": disk.stat().st_size,
        "file": packed.name,
        "file_sha256": digest_of_file(packed),
        "map": block_map.name,
        "map_sha256": digest_of_file(block_map),
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items()).encode()


def write_iso(
    image_id: str,
    architecture: Architecture,
    installer: Path,
    files: Mapping[str, Path],
    target: Path,
) -> None:
    """Write the medium; `files` are put into its folder `skerry` under their names."""
    esp = target.with_suffix(".esp")
    _write_esp(image_id, installer / KERNEL_IMAGE, architecture.boot_file, esp)
    half = target.with_suffix(".iso.half")
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-r", "-V", MEDIUM_LABEL, "-o", str(half)]
    # The folders that grafts imply would else have the time of this call.
    command += ["--set_all_file_dates", f"={SOURCE_DATE_EPOCH}"]
    command += ["-append_partition", "2", "0xef", str(esp), "-appended_part_as_gpt"]
    command += ["-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    grafts = [f"skerry/{name}={_escaped(file)}" for name, file in sorted(files.items())]
    run_command([*command, "-graft-points", *grafts])
    esp.unlink()
    half.replace(target)


def write_pxe(
    architecture: Architecture, installer: Path, files: Mapping[str, Path], target: Path
) -> None:
    """Write the tar of a network boot."""
    script = _IPXE.format(arguments=" ".join(command_line(architecture))).encode()
    boot = {name: installer / name for name in (KERNEL_IMAGE, KERNEL, INITRAMFS)}
    with target.open("xb") as stream:
        write_bundle({**boot, **files, "boot.ipxe": script}, stream)


def _with_own(overlays: Sequence[Path]) -> list[Path]:
    return [*overlays, package_data("installer")]


def _write_esp(image_id: str, kernel_image: Path, boot_file: str, esp: Path) -> None:
    tree = esp.with_suffix(".esp.tree")
    (tree / "EFI/BOOT").mkdir(parents=True)
    shutil.copyfile(kernel_image, tree / "EFI/BOOT" / boot_file)
    size = -(-(kernel_image.stat().st_size + FREE_ESP_BYTES) // _MIB) * _MIB
    own = volume_id(image_id, "installer")
    make_fat(esp, tree, size_bytes=size, bits=16, label=SETTINGS_LABEL, own=own)
    remove_tree(tree)


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace("=", "\\=")
