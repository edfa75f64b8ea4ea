"""From started services to a provisioned device: symmetric key, a DPS on this machine."""

import time
from pathlib import Path

import pytest

from harness.cloud_device import SYMMETRIC, cloud_device
from perf.conftest import Record
from skerry_factory.bench import summarise

pytestmark = pytest.mark.perf

RUNS, TARGET_SECONDS = 7, 2.0


def test_seconds_to_a_provisioned_device(tmp_path: Path, record: Record) -> None:
    """identityd starts as a process, as after `config apply`, and is asked for the device."""
    seconds = []
    for run in range(RUNS + 1):
        with cloud_device(tmp_path / str(run)) as device:
            device.enrol()
            device.configure(device.dps(SYMMETRIC))
            start = time.monotonic()
            device.services.start("identityd")
            assert device.identity.device().device_id == "pump-7"
            seconds.append(time.monotonic() - start)
    record(summarise("provisioning by symmetric key", seconds[1:], "s", target=TARGET_SECONDS))
