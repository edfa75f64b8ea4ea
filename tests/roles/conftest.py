"""What the verify modules share: the same checks run in a tree (chroot), a device and a machine.

    pytest tests/roles -m appliance --hosts=ssh://appliance --ssh-config=FILE --sudo
    pytest tests/roles -m appliance --hosts=/path/of/tree --connection=chroot

Each module defines the fixture `seen`: one look at the host. `booted` and `configured` are the same
for checks of something that runs, or that needs the appliance's configuration; else they skip.
"""

import pytest

from harness.look import Seen


@pytest.fixture
def booted(seen: Seen) -> Seen:
    if not seen.booted:
        pytest.skip("the tree is not booted")
    return seen


@pytest.fixture
def configured(booted: Seen) -> Seen:
    if not booted.configured:
        pytest.skip("the appliance has no configuration yet")
    return booted
