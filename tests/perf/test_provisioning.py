"""From a config.toml to a provisioned device: symmetric key, a DPS on this machine."""

import time
from pathlib import Path

import pytest

from harness.applied import applied_device
from harness.cloud_device import KEY, QUICK, b64
from perf.conftest import Record
from skerry_factory.bench import summarise
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.server import Lab

pytestmark = pytest.mark.perf

RUNS, TARGET_SECONDS = 7, 2.0


def test_seconds_to_a_provisioned_device(tmp_path: Path, record: Record) -> None:
    """Apply starts the services as processes; then the device is asked who it is."""
    key, seconds = b64(KEY), []
    with Lab(tmp_path / "lab", QUICK) as lab:
        enrolment = Enrollment(
            "pump-7", Attestation.SYMMETRIC_KEY, False, primary_key=key, secondary_key=key
        )
        lab.add_enrollment(enrolment)
        config = (
            f'trust_bundle_cert = "file://{tmp_path / "lab" / "ca.pem"}"\n'
            f'[provisioning]\nsource = "dps"\nglobal_endpoint = "{lab.endpoint}"\n'
            f'id_scope = "{lab.id_scope}"\n[provisioning.attestation]\nmethod = "symmetric_key"\n'
            f'registration_id = "pump-7"\nsymmetric_key = {{ value = "{key}" }}\n'
        )
        for run in range(RUNS + 1):
            with applied_device(tmp_path / str(run)) as device:
                start = time.monotonic()
                assert device.apply(config).result == "applied"
                assert device.identity.device().device_id == "pump-7"
                seconds.append(time.monotonic() - start)
    record(summarise("config apply to provisioned", seconds[1:], "s", target=TARGET_SECONDS))
