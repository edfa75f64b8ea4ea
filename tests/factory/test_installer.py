"""Installer media: the same bytes twice, what firmware and installer look for is in them."""

import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from skerry_factory.architecture import AMD64, ARM64, Architecture
from skerry_factory.cache import digest_of_file
from skerry_factory.errors import FactoryError
from skerry_factory.filesystems import make_sparse
from skerry_factory.formats import Disk, write_formats
from skerry_factory.installer import command_line
from skerry_factory.paths import package_data

SCRIPTS = package_data("installer") / "etc/initramfs-tools"
MADE = ["box.bmap", "box.iso", "box.pxe", "box.raw", "box.raw.zst"]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A disk without partitions, and an installer of three files."""
    installer = tmp_path / "installer"
    installer.mkdir()
    for name in ("install.efi", "vmlinuz", "initrd.img"):
        (installer / name).write_bytes(name.encode() * 1000)
    (tmp_path / "out").mkdir()
    file = tmp_path / "out/box.raw"
    make_sparse(file, 4 << 20)
    return Disk(file, "box", [], AMD64, installer)


def test_media_are_the_same_twice_and_nothing_half_made_is_left(disk: Disk) -> None:
    """In another second too; the packed image and its map come with them."""
    first = write_formats(disk, ("iso", "pxe"))
    assert sorted(path.name for path in disk.path.parent.iterdir()) == MADE
    for output in first[1:]:
        output.path.unlink()
    time.sleep(1.1)  # the resolution of ISO 9660's times is a second
    assert write_formats(disk, ("pxe", "iso")) == first


@pytest.mark.parametrize("arch", [AMD64, ARM64], ids=lambda arch: arch.name)
def test_firmware_finds_the_installer_on_the_medium(
    disk: Disk, tmp_path: Path, arch: Architecture
) -> None:
    """By El Torito and by the partition of a stick, under the name of the architecture."""
    write_formats(replace(disk, architecture=arch), ("iso",))
    medium = disk.path.with_suffix(".iso")
    sfdisk = subprocess.run(["sfdisk", "--dump", medium], capture_output=True, text=True)
    (line,) = [line for line in sfdisk.stdout.splitlines() if "C12A7328" in line]
    start = int(line.partition("start=")[2].partition(",")[0]) * 512
    read = ["mtype", "-i", f"{medium}@@{start}", f"::EFI/BOOT/{arch.boot_file}"]
    assert subprocess.run(read, capture_output=True).stdout == b"install.efi" * 1000
    told = subprocess.run(
        ["xorriso", "-indev", medium, "-report_el_torito", "plain"], capture_output=True, text=True
    )
    assert "UEFI" in told.stdout


def test_image_conf_has_the_digests_of_what_is_beside_it(disk: Disk) -> None:
    """The lines that the installer on the machine goes by."""
    write_formats(disk, ("pxe",))
    with tarfile.open(disk.path.with_suffix(".pxe")) as archive:
        names = archive.getnames()
        conf = archive.extractfile("image.conf")
        assert conf is not None
        lines = dict(line.split("=") for line in conf.read().decode().splitlines())
    assert {"boot.ipxe", "install.efi", "vmlinuz", "initrd.img"} <= set(names)
    assert (lines["id"], lines["size_bytes"]) == ("box", str(4 << 20))
    for kind in ("file", "map"):
        assert lines[kind] in names
        assert lines[f"{kind}_sha256"] == digest_of_file(disk.path.with_name(lines[kind]))


def test_media_without_an_installer_are_refused(disk: Disk) -> None:
    """Before anything is written."""
    with pytest.raises(FactoryError, match="iso and pxe need an installer"):
        write_formats(replace(disk, installer=None), ("iso", "pxe"))
    assert [path.name for path in disk.path.parent.iterdir()] == ["box.raw"]


def test_the_installer_is_started_by_the_arguments_of_its_kernel() -> None:
    """`boot=NAME` makes /init read scripts/NAME; both scripts are sound."""
    boot = next(word for word in command_line(AMD64) if word.startswith("boot="))
    assert (SCRIPTS / "scripts" / boot.removeprefix("boot=")).is_file()
    for name in ("hooks/skerry-install", "scripts/skerry-install", "scripts/skerry-installer"):
        shell = "bash" if name.endswith("installer") else "dash"
        assert subprocess.run([shell, "-n", SCRIPTS / name]).returncode == 0
