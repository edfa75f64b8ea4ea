"""The TPM: usable by its group where the machine has one."""

import pytest
from testinfra.host import Host

pytestmark = pytest.mark.appliance


def test_the_access_rules_are_installed(host: Host) -> None:
    """udev gives the TPM to the group tss."""
    assert host.run("grep -rqs 'tpmrm.*GROUP=\"tss\"' /usr/lib/udev/rules.d").rc == 0


def test_a_tpm_that_the_firmware_names_is_usable(booted: Host) -> None:
    """Where firmware or kernel tell of a TPM 2.0, /dev/tpmrm0 is there for the group tss."""
    claimed = any(
        booted.file(path).exists
        for path in ("/sys/class/tpm/tpm0", "/sys/firmware/acpi/tables/TPM2")
    )
    if not claimed:
        pytest.skip("this machine has no TPM")
    device = booted.file("/dev/tpmrm0")
    assert (device.exists, device.group, device.mode) == (True, "tss", 0o660)
