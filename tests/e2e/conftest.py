"""One appliance of the shared image, stamped as the demonstration does it and booted once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.image import booted_device
from skerry_factory.appliance import BootedAppliance

CONFIG = Path(__file__).resolve().parents[2] / "examples" / "config.toml"


@pytest.fixture(scope="package")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedAppliance]:
    """A running appliance; tests may restart it and have to leave it answering."""
    with booted_device("pump-station-7", CONFIG, tmp_path_factory.mktemp("appliance")) as running:
        yield running
