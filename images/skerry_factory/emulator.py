"""Lets the programs of another architecture run inside one build, and nowhere else.

qemu-user is registered in a binfmt_misc of the build's own user namespace, which the kernel gives
one since Linux 6.7; the machine's own registrations stay as they are. The line is that of Debian's
package, whose flag F opens the emulator at once: the tree needs no copy of it.
"""

from pathlib import Path

from skerry_factory.architecture import Architecture
from skerry_factory.command import run_command
from skerry_factory.errors import CommandError, FactoryError

BINFMT_MISC = Path("/proc/sys/fs/binfmt_misc")
LINES = Path("/usr/lib/binfmt.d")


def register_emulator(architecture: Architecture, lines: Path = LINES) -> None:
    """Make programs of an architecture runnable in this namespace; its own ones are already."""
    if not architecture.is_foreign:
        return
    line = emulator_line(architecture, lines)
    try:
        run_command(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT_MISC)])
    except CommandError as error:
        raise FactoryError(
            f"an image for {architecture.name} cannot be built here: this kernel has no "
            "binfmt_misc for a build of its own; expected Linux 6.7 or newer with BINFMT_MISC"
        ) from error
    (BINFMT_MISC / "register").write_text(line, "utf-8")


def emulator_line(architecture: Architecture, lines: Path = LINES) -> str:
    """Return the registration that Debian's package of qemu-user has for an architecture."""
    file = lines / f"qemu-{architecture.machine}.conf"
    if not file.is_file():
        raise FactoryError(
            f"an image for {architecture.name} needs an emulator: {str(file)!r} is missing; "
            "install package 'qemu-user-static'"
        )
    return file.read_text("utf-8").strip()
