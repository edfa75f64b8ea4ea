"""What the verify modules share: the same checks run in a tree (chroot), a device and a machine.

pytest tests/roles -m appliance --hosts=ssh://appliance --ssh-config=FILE --sudo
pytest tests/roles -m appliance --hosts=/path/of/tree --connection=chroot
"""

import pytest
from testinfra.host import Host


@pytest.fixture(scope="module")
def is_booted(host: Host) -> bool:
    """Whether systemd runs there, or the tree is only looked at."""
    return str(host.run("systemctl is-system-running").stdout).strip() not in ("offline", "")


@pytest.fixture
def booted(host: Host, is_booted: bool) -> Host:
    """The host, for checks of something that runs."""
    if not is_booted:
        pytest.skip("the tree is not booted")
    return host


@pytest.fixture
def configured(booted: Host) -> Host:
    """The host, for checks of an appliance that has its configuration."""
    if not booted.file("/etc/skerry/current").exists:
        pytest.skip("the appliance has no configuration yet")
    return booted
