"""Stamping a thousand devices: seconds, and what each takes beside the image."""

import time
from pathlib import Path

import pytest

from factory.fleet.conftest import X509, Site, site, small_image
from perf.conftest import Record
from skerry_factory.bench import summarise

pytestmark = pytest.mark.perf

__all__ = ["site", "small_image"]

DEVICES, RUNS = 1000, 3
SECONDS, MEGABYTES = 5.0, 2.0


def test_a_thousand_devices_with_certificates(site: Site, record: Record, tmp_path: Path) -> None:
    """From fleet.toml to overlays, ledger and enrolments; then the same again, nothing to do."""
    site.write(X509, f'pattern = "press-{{n:04}}"\ncount = {DEVICES}', disk_format="qcow2")
    first, again = [], []
    for run in range(RUNS):
        own = site.into(tmp_path / f"out-{run}")
        first.append(seconds_of(own))
        again.append(seconds_of(own))
    disks = [file.stat().st_blocks * 512 for file in (own.out / "devices").glob("press-*")]
    label = f"{DEVICES} devices stamped"
    record(summarise(label, first, "s", target=SECONDS))
    record(summarise(f"{label}, the same again", again, "s"))
    record(summarise("a stamped device", [b / 1e6 for b in disks], "MB", target=MEGABYTES))


def seconds_of(own: Site) -> float:
    start = time.monotonic()
    own.stamp()
    return time.monotonic() - start
