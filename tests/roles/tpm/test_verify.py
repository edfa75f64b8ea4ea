"""The TPM: usable by its group where the machine has one."""

import pytest
from testinfra.host import Host

from harness.look import Seen, look

pytestmark = pytest.mark.appliance

RULES = "grep -rqs 'tpmrm.*GROUP=\"tss\"' /usr/lib/udev/rules.d"
DEVICE = "/dev/tpmrm0"
LIBRARY = "python3 -I -c 'from tpm2_pytss import ESAPI'"
TCTI = "ls /usr/lib/*/libtss2-tcti-device.so.0"
CLAIMS = ("/sys/class/tpm/tpm0", "/sys/firmware/acpi/tables/TPM2")


@pytest.fixture(scope="module")
def seen(host: Host) -> Seen:
    return look(host, [DEVICE, *CLAIMS], [RULES, LIBRARY, TCTI])


def test_the_access_rules_are_installed(seen: Seen) -> None:
    """udev gives the TPM to the group tss."""
    seen.said[RULES].ok()


@pytest.mark.parametrize("command", [LIBRARY, TCTI], ids=["library", "its module"])
def test_the_library_is_there(seen: Seen, command: str) -> None:
    """tpmd finds the TPM's library, and that its module for the kernel's device."""
    seen.said[command].ok()


def test_a_tpm_that_the_firmware_names_is_usable(booted: Seen) -> None:
    """Where firmware or kernel tell of a TPM 2.0, /dev/tpmrm0 is there for the group tss."""
    if all(booted.files[path] is None for path in CLAIMS):
        pytest.skip("this machine has no TPM")
    device = booted.file(DEVICE)
    assert (device.group, device.mode) == ("tss", 0o660)
