"""Programs of another architecture: what is registered for them, and what if it cannot."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from skerry_factory.architecture import AMD64, ARCHITECTURES, ARM64, architecture
from skerry_factory.emulator import emulator_line, register_emulator
from skerry_factory.errors import FactoryError
from skerry_factory.namespace import UNSHARE, UNSHARE_AS_ROOT, map_accounts

FOREIGN = ARM64 if ARM64.is_foreign else AMD64
SHOW = """
import sys
from pathlib import Path
from skerry_factory.architecture import architecture
from skerry_factory.emulator import BINFMT_MISC, register_emulator
register_emulator(architecture(sys.argv[1]))
print(sorted(path.name for path in BINFMT_MISC.iterdir()))
print(Path("/proc/self/uid_map").read_text().split())
"""


def test_efi_names_are_those_of_the_architecture() -> None:
    """The removable-media path and systemd's programs carry the architecture's suffix."""
    assert [one.boot_file for one in ARCHITECTURES.values()] == ["BOOTX64.EFI", "BOOTAA64.EFI"]
    assert ARM64.stub.endswith("/linuxaa64.efi.stub")
    assert ARM64.boot_loader.endswith("/systemd-bootaa64.efi")


def test_an_unknown_architecture_is_refused() -> None:
    """The known ones are named."""
    with pytest.raises(FactoryError, match="'vax' is not known; expected one of amd64, arm64"):
        architecture("vax")


def test_own_programs_need_no_emulator(tmp_path: Path) -> None:
    """For the machine's own architecture nothing is looked for or registered."""
    register_emulator(replace(FOREIGN, machine=_own_machine()), lines=tmp_path)


def test_a_missing_emulator_is_named(tmp_path: Path) -> None:
    """Without the package the message says which."""
    with pytest.raises(FactoryError, match="install package 'qemu-user-static'"):
        emulator_line(FOREIGN, tmp_path)


@pytest.mark.root
def test_an_emulator_is_registered_for_the_build_alone() -> None:
    """Inside there is the emulator and every account; outside nothing has changed."""
    outside = Path("/proc/sys/fs/binfmt_misc")
    before = sorted(path.name for path in outside.iterdir())
    command = [*UNSHARE_AS_ROOT, *UNSHARE, sys.executable, "-c", SHOW, FOREIGN.name]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as worker:
        map_accounts(worker)
        said, _ = worker.communicate(timeout=30)
    names, accounts = said.splitlines()
    assert f"qemu-{FOREIGN.machine}" in names
    assert accounts == str(["0", "0", "4294967295"])
    assert sorted(path.name for path in outside.iterdir()) == before


def _own_machine() -> str:
    return (AMD64 if FOREIGN is ARM64 else ARM64).machine
