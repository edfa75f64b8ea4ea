"""What differs between the architectures that images are made for, from firmware to emulator.

Names of EFI files and partition types: the UAPI specifications "Boot Loader" and "Discoverable
Partitions"; consoles: the serial port of the machines that QEMU calls `q35` and `virt`.
"""

import platform
import uuid
from dataclasses import dataclass

from skerry_factory.errors import FactoryError


@dataclass(frozen=True)
class Architecture:
    """One architecture under Debian's name for it."""

    name: str
    machine: str
    """The kernel's name, as in `uname -m`; qemu-user and qemu-system are called after it."""
    efi: str
    """Suffix of EFI programs, in small letters."""
    root_type: uuid.UUID
    """Type of the root partition."""
    console: str
    """Serial console, as in the kernel argument `console=`."""

    @property
    def stub(self) -> str:
        """Path of systemd's EFI stub in a tree."""
        return f"usr/lib/systemd/boot/efi/linux{self.efi}.efi.stub"

    @property
    def boot_loader(self) -> str:
        """Path of systemd-boot in a tree."""
        return f"usr/lib/systemd/boot/efi/systemd-boot{self.efi}.efi"

    @property
    def boot_file(self) -> str:
        """Name in EFI/BOOT of what firmware starts from a disk it knows nothing about."""
        return f"BOOT{self.efi.upper()}.EFI"

    @property
    def is_foreign(self) -> bool:
        """Tell whether this machine runs its programs through an emulator only."""
        return platform.machine() != self.machine


AMD64 = Architecture(
    name="amd64",
    machine="x86_64",
    efi="x64",
    root_type=uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
    console="ttyS0,115200n8",
)
ARM64 = Architecture(
    name="arm64",
    machine="aarch64",
    efi="aa64",
    root_type=uuid.UUID("b921b045-1df0-41c3-af44-4c6f280d3fae"),
    console="ttyAMA0,115200n8",
)
ARCHITECTURES = {one.name: one for one in (AMD64, ARM64)}


def architecture(name: str) -> Architecture:
    """Return the architecture of Debian's name."""
    try:
        return ARCHITECTURES[name]
    except KeyError as error:
        known = ", ".join(ARCHITECTURES)
        raise FactoryError(
            f"architecture {name!r} is not known; expected one of {known}"
        ) from error
