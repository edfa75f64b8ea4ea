"""Checks of the machine: disk, memory, network, clock, engine; both verdicts of each."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.appliances import ROOMY, AwayError, Machine, unit
from skerry.check.model import Result
from skerry.engine.errors import EngineError, EngineUnreachableError

MEMORY = "MemTotal: 1000000 kB\nMemAvailable: {} kB\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def full(machine: Machine, **changes: int) -> None:
    machine.usage = replace(ROOMY, **changes)


def half_a_proxy(machine: Machine) -> None:
    """The agent has one, the engine has none."""
    machine.settings("edged", "[agent.env]\nhttps_proxy = 'http://p:3128'\n")
    machine.units.known["docker.service"] = unit("docker.service")


def step(machine: Machine, seconds: float) -> None:
    machine.network.offset = seconds


JOURNALD = "systemd-journald.service"


def offline(machine: Machine) -> None:
    machine.write("proc/net/route", "")
    machine.write("etc/resolv.conf", "")


def large_journal(machine: Machine) -> None:
    path = "var/log/journal/1/system.journal"
    machine.write(path, "")
    os.truncate(machine.root / path, 3 << 29)


Plant = Callable[[Machine], object]

FAULTS: list[tuple[str, Plant, Result, str]] = [
    ("disk-space", lambda m: full(m, free_bytes=1 << 20), Result.ERROR, "is full"),
    ("disk-space", lambda m: full(m, free_bytes=5 << 30), Result.WARNING, "is nearly full"),
    ("disk-inodes", lambda m: full(m, free_inodes=1000), Result.ERROR, "can hold no more files"),
    ("disk-inodes", lambda m: full(m, free_inodes=400_000), Result.WARNING, "few more files"),
    (
        "memory",
        lambda m: m.write("proc/meminfo", MEMORY.format(20_000)),
        Result.WARNING,
        "hardly any memory",
    ),
    (
        "container-engine-uri",
        lambda m: setattr(m.engine, "trouble", EngineUnreachableError("no answer")),
        Result.ERROR,
        "no answer",
    ),
    (
        "container-engine-uri",
        lambda m: setattr(m.engine, "trouble", EngineUnreachableError("permission denied")),
        Result.FATAL,
        "permission denied",
    ),
    (
        "container-engine-uri",
        lambda m: setattr(m.engine, "trouble", EngineError(400, "version")),
        Result.ERROR,
        "the container engine refuses",
    ),
    (
        "container-engine-dns",
        lambda m: m.write("etc/resolv.conf", "nameserver 127.0.0.1\n"),
        Result.WARNING,
        "containers have no name server",
    ),
    ("container-engine-dns", offline, Result.IGNORED, "offline"),
    (
        "container-engine-storage",
        lambda m: setattr(m.engine, "storage", "vfs"),
        Result.WARNING,
        "a whole copy of its image",
    ),
    (
        "forwarding",
        lambda m: m.write("proc/sys/net/ipv4/ip_forward", "0\n"),
        Result.ERROR,
        "does not forward packets",
    ),
    (
        "forwarding",
        lambda m: m.daemon(iptables=False),
        Result.WARNING,
        "the engine makes no rules",
    ),
    (
        "journal",
        lambda m: m.units.known.update({JOURNALD: unit(JOURNALD, "failed")}),
        Result.ERROR,
        "the journal is failed",
    ),
    ("journal", large_journal, Result.WARNING, "has grown beyond 1.0 GiB"),
    (
        "container-engine-dns",
        lambda m: m.write("etc/docker/daemon.json", "{"),
        Result.ERROR,
        "cannot be used",
    ),
    (
        "container-engine-dns",
        lambda m: m.write("etc/docker/daemon.json", "[]"),
        Result.ERROR,
        "holds list, expected an object",
    ),
    ("container-engine-logrotate", lambda m: None, Result.WARNING, "kept for ever"),
    (
        "container-engine-ipv6",
        lambda m: m.settings("edged", "[moby_runtime.network]\nname = 'n'\nipv6 = true\n"),
        Result.ERROR,
        "the engine has IPv6 off",
    ),
    (
        "mtu",
        lambda m: m.write("sys/class/net/eth0/mtu", "1400"),
        Result.WARNING,
        "packets of up to 1500 bytes, eth0 carries 1400",
    ),
    (
        "mtu",
        lambda m: m.write("sys/class/net/eth0/mtu", "900"),
        Result.WARNING,
        "packets of 900 bytes only",
    ),
    ("mtu", lambda m: m.write("proc/net/route", ""), Result.SKIPPED, "offline"),
    (
        "proxy-settings",
        half_a_proxy,
        Result.WARNING,
        "not the same everywhere",
    ),
    (
        "host-local-time",
        lambda m: step(m, 60.0),
        Result.WARNING,
        "60 s behind",
    ),
    (
        "host-local-time",
        lambda m: step(m, -11.0),
        Result.WARNING,
        "11 s ahead",
    ),
    (
        "host-local-time",
        lambda m: setattr(m.network, "trouble", AwayError("no route")),
        Result.WARNING,
        "cannot be asked: no route",
    ),
    ("host-local-time", lambda m: m.write("proc/net/route", ""), Result.SKIPPED, "offline"),
    (
        "clock-trend",
        lambda m: m.write("var/lib/chrony/chrony.drift", "412.5 0.1\n"),
        Result.WARNING,
        "drifts by 412 ppm",
    ),
    (
        "clock-trend",
        lambda m: m.write("sys/class/rtc/rtc0/since_epoch", "1000000\n"),
        Result.WARNING,
        "runs on battery",
    ),
    (
        "clock-trend",
        lambda m: m.units.known.update({"chrony.service": unit("chrony.service", "inactive")}),
        Result.WARNING,
        "no time service runs",
    ),
]


@pytest.mark.parametrize(
    ("check_id", "plant", "result", "said"), FAULTS, ids=[f"{one[0]}: {one[3]}" for one in FAULTS]
)
def test_what_is_wrong_is_named(
    machine: Machine, check_id: str, plant: Plant, result: Result, said: str
) -> None:
    """With its cause; whatever is bad has a remedy."""
    plant(machine)
    found = machine.find(check_id)
    assert (found.result, said in found.cause) == (result, True), found
    assert bool(found.remedy) == found.result.bad


@pytest.mark.parametrize(
    ("check_id", "prepare"),
    [
        ("disk-space", lambda m: None),
        ("disk-space", lambda m: full(m, free_bytes=9 << 30)),
        ("disk-inodes", lambda m: None),
        ("memory", lambda m: m.write("proc/meminfo", MEMORY.format(500_000))),
        ("container-engine-uri", lambda m: None),
        ("container-engine-dns", lambda m: m.daemon(dns=["10.0.0.53"])),
        ("container-engine-dns", lambda m: None),
        ("container-engine-storage", lambda m: None),
        ("forwarding", lambda m: m.write("proc/sys/net/ipv4/ip_forward", "1\n")),
        ("journal", lambda m: m.units.known.update({JOURNALD: unit(JOURNALD)})),
        ("container-engine-logrotate", lambda m: m.daemon(**{"log-driver": "local"})),
        ("container-engine-ipv6", lambda m: m.daemon(ipv6=True)),
        ("mtu", lambda m: None),
        ("host-local-time", lambda m: None),
        ("clock-trend", lambda m: None),
    ],
)
def test_what_is_well_is_well(machine: Machine, check_id: str, prepare: Plant) -> None:
    """No cause, no remedy, nothing to fix."""
    prepare(machine)
    found = machine.find(check_id)
    assert (found.result, found.cause, found.remedy, found.fix) == (Result.OK, "", "", None)


@pytest.mark.parametrize(
    ("check_id", "settled"),
    [
        ("container-engine-ipv6", {"ipv6": True}),
        ("container-engine-logrotate", {"log-opts": {"max-size": "10m", "max-file": "3"}}),
    ],
)
def test_a_fix_keeps_what_else_is_set(
    machine: Machine, check_id: str, settled: dict[str, object]
) -> None:
    """Then the check is satisfied."""
    machine.daemon(**{"data-root": "/data"})
    machine.settings("edged", "[moby_runtime.network]\nname = 'n'\nipv6 = true\n")
    found = machine.find(check_id)
    assert found.fix is not None
    found.fix.run()
    assert json.loads(machine.engine_config.read_text()) == {"data-root": "/data", **settled}
    assert machine.find(check_id).result is Result.OK


def test_fixes_ask_systemd(machine: Machine) -> None:
    """For the engine, the journal and the clock."""
    machine.engine.trouble = EngineUnreachableError("gone")
    full(machine, free_bytes=1 << 20)
    machine.network.offset = 99.0
    for check_id in ("container-engine-uri", "disk-space", "host-local-time"):
        found = machine.find(check_id)
        assert found.fix is not None
        found.fix.run()
    assert machine.units.told == [
        "systemctl reset-failed docker.service docker.socket",
        "systemctl start docker.service",
        "journalctl --vacuum-size=64M",
        "chronyc -a makestep",
    ]


def test_a_drift_is_seen_over_time(machine: Machine) -> None:
    """From the offsets of former runs, where chrony tells none."""
    for offset in (0.0, 1.5):
        machine.network.offset = offset
        machine.find("host-local-time")
        machine.clock.move(3700)
    assert "drifts by" in machine.find("clock-trend").cause


def test_a_clock_that_went_back_is_noticed(machine: Machine) -> None:
    """By a file that is newer than now."""
    (machine.root / "generation").mkdir()
    machine.paths.current.symlink_to(machine.root / "generation")
    machine.clock.move(-10 * 365 * 86400)
    found = machine.find("clock-trend")
    assert found.result is Result.ERROR
    assert "the clock went back" in found.cause
