"""The clock: right now, and over time. Certificates and tokens hold only while it is right."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from skerry.base.errors import SkerryError
from skerry.base.files import write_atomic
from skerry.check.appliance import Appliance
from skerry.check.checks.network import default_interface
from skerry.check.machine import explain
from skerry.check.model import Check, Finding, Fix, Section, error, ok, skipped, warning, worst

_TOLERATED_SECONDS = 10.0
_PPM = 200.0
"""More than any sound quartz drifts; the kernel corrects 500 at most."""

_KEPT = 32
_LEAST_HOURS = 1.0
_RTC_SECONDS = 120.0
_SERVICES = ("chrony.service", "systemd-timesyncd.service", "ntpsec.service", "ntp.service")


def _now(appliance: Appliance) -> Finding:
    if default_interface(appliance) is None:
        return skipped("offline")
    server = appliance.options.ntp_server
    try:
        offset = appliance.network.clock_offset(server, appliance.options.connect_seconds / 2)
    except (OSError, SkerryError) as problem:
        return warning(
            f"the time server {server!r} cannot be asked: {explain(problem)}",
            "let UDP port 123 pass, or name another with --ntp-server",
        )
    _remember(appliance, offset)
    if abs(offset) >= _TOLERATED_SECONDS:
        which = "behind" if offset > 0 else "ahead"
        return warning(
            f"the clock of this device is {abs(offset):.0f} s {which}; tokens and certificates "
            "will be refused",
            "skerry check --fix, or: sudo systemctl restart chrony; chronyc makestep",
            f"asked {server}",
            fix=Fix("had the clock set", lambda: _step(appliance)),
        )
    return ok(f"{offset:+.3f} s by {server}", offset_seconds=round(offset, 3))


def _step(appliance: Appliance) -> None:
    appliance.units.run("chronyc", "-a", "makestep")


def _trend(appliance: Appliance) -> Finding:
    found = [*_set_back(appliance), *_battery(appliance), *_drift(appliance), *_nobody(appliance)]
    return worst(found, ok(*_drift_line(appliance)))


def _set_back(appliance: Appliance) -> list[Finding]:
    """Find a clock that is behind what this device has seen already: its files."""
    newest = datetime(1970, 1, 1, tzinfo=UTC)
    witness = ""
    for path in (appliance.paths.current, appliance.paths.state / "edged" / "cache"):
        try:
            at = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
        except OSError:
            continue
        if at > newest:
            newest, witness = at, str(path)
    behind = newest - appliance.clock.now()
    if behind < timedelta(minutes=5):
        return []
    return [
        error(
            f"the clock went back: it is {behind.total_seconds() / 3600:.1f} hours behind a file "
            "of this device",
            "set it: sudo chronyc makestep; if it happens at each start, the clock's battery is "
            "empty",
            f"{witness} was written {newest:%Y-%m-%d %H:%M} UTC",
        )
    ]


def _battery(appliance: Appliance) -> list[Finding]:
    text = appliance.text("sys/class/rtc/rtc0/since_epoch").strip()
    if not text.isdecimal():
        return []
    apart = int(text) - appliance.clock.now().timestamp()
    if abs(apart) < _RTC_SECONDS:
        return []
    return [
        warning(
            f"the clock that runs on battery is {abs(apart):.0f} s off; the device starts with a "
            "wrong time",
            "sudo hwclock --systohc; if it comes again, change the battery",
            fix=Fix(
                "set the clock that runs on battery",
                lambda: _run(appliance, "hwclock", "--systohc"),
            ),
        )
    ]


def _run(appliance: Appliance, *command: str) -> None:
    appliance.units.run(*command)


def _drift(appliance: Appliance) -> list[Finding]:
    ppm = drift_of(appliance)
    if ppm is None or abs(ppm) < _PPM:
        return []
    return [
        warning(
            f"the clock drifts by {abs(ppm):.0f} ppm ({abs(ppm) * 0.0864:.1f} s a day); offline it "
            "will soon be wrong",
            "keep a time server in reach; a sound clock drifts by less than 100 ppm",
        )
    ]


def _drift_line(appliance: Appliance) -> tuple[str, ...]:
    ppm = drift_of(appliance)
    return () if ppm is None else (f"drift {ppm:+.1f} ppm",)


def drift_of(appliance: Appliance) -> float | None:
    """Return the drift in ppm: chrony's own figure, else from the offsets seen by this check."""
    words = appliance.text("var/lib/chrony/chrony.drift").split()
    try:
        return float(words[0])
    except (IndexError, ValueError):
        return slope(_samples(appliance))


def slope(samples: Sequence[tuple[float, float]]) -> float | None:
    """Return how fast the offset grew between the first and the last sample, in ppm.

    A sample is (unix seconds, offset in seconds); None for less than an hour between them.
    """
    if len(samples) < 2 or samples[-1][0] - samples[0][0] < _LEAST_HOURS * 3600:
        return None
    return (samples[-1][1] - samples[0][1]) / (samples[-1][0] - samples[0][0]) * 1e6


def _nobody(appliance: Appliance) -> list[Finding]:
    units = appliance.units.states(_SERVICES)
    if not units or any(unit.active == "active" for unit in units.values()):
        return []
    return [
        warning(
            "nothing keeps the clock right: no time service runs",
            "skerry check --fix, or: sudo systemctl enable --now chrony",
            fix=Fix("started chrony", lambda: _run(appliance, "systemctl", "start", "chrony")),
        )
    ]


def _samples(appliance: Appliance) -> list[tuple[float, float]]:
    try:
        found = json.loads((appliance.paths.private / "clock.json").read_bytes())
        return [(float(at), float(offset)) for at, offset in found]
    except (OSError, ValueError, TypeError):
        return []


def _remember(appliance: Appliance, offset: float) -> None:
    """Keep the last offsets; a disk that cannot be written is another check's finding."""
    samples = [*_samples(appliance), (appliance.clock.now().timestamp(), round(offset, 6))]
    path = appliance.paths.private / "clock.json"
    try:
        write_atomic(path, json.dumps(samples[-_KEPT:]).encode(), mode=0o600)
    except OSError:
        return


CHECKS = (
    Check(
        "host-local-time",
        Section.IDENTITY,
        "the clock is within 10 s of a time server's",
        _now,
        needs=("network",),
    ),
    Check("clock-trend", Section.APPLIANCE, "the clock stays right", _trend),
)
