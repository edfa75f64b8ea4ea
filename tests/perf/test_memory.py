"""Memory of the four security services while all of them are busy, as processes on this machine."""

import base64
import time
from pathlib import Path

import pytest

from harness.cloud_device import SYMMETRIC, CloudDevice, cloud_device
from harness.swtpm import swtpm
from perf.conftest import Record
from skerry.tpm.client import TpmClient
from skerry_factory.bench import summarise

pytestmark = pytest.mark.perf

SAMPLES, TARGET_MEGABYTES = 6, 45.0
ROUNDS = 20


def pss_megabytes(pid: int) -> float:
    """Return the proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1_000_000
    raise AssertionError(f"no Pss of {pid}")


def test_memory_of_busy_services(tmp_path: Path, record: Record) -> None:
    """Every service has done what it is for: provisioned, signed, issued, spoken with its TPM."""
    with swtpm(tmp_path / "tpm") as chip, cloud_device(tmp_path / "d") as device:
        device.enrol()
        for name in ("certd", "keyd"):
            device.services.end_hosted(name)
        device.configure(device.dps(SYMMETRIC))
        device.services.configure("tpmd", f'tcti = "{chip.tcti}"\n')
        processes = [device.services.start(name) for name in ("keyd", "certd", "identityd", "tpmd")]
        tpm = TpmClient(device.services.socket("tpmd"))
        samples = []
        for _ in range(SAMPLES):
            work(device, tpm)
            samples.append(sum(pss_megabytes(process.pid) for process in processes))
            time.sleep(0.2)
    record(summarise("four busy services, PSS", samples, "MB", target=TARGET_MEGABYTES))


def work(device: CloudDevice, tpm: TpmClient) -> None:
    """Use every service."""
    handle = device.identity.device().key_handle
    assert handle is not None
    for number in range(ROUNDS):
        device.keys.sign_hmac(handle, base64.b64encode(number.to_bytes(4, "big")))
    module = device.identity.create_module("sensor")
    assert module.key_handle is not None
    device.certs.get("lab-root")
    tpm.tpm_keys()
