"""What a seeded fault is, and how those of one kind are planted and undone.

Scripts are for root of the appliance. Files that faults put in the place of good ones lie in
/var/faults (`material`); what a fault puts aside lies there as `kept` until it is undone.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.lab import Signed
from harness.site import BAD, NAME, Site, lasting

MGMT = "skerry-edged-mgmt.socket"
WORKLOAD = "skerry-edged-workload.socket"
SUPER = "config.d/00-super.toml"
DEPLOY = "/etc/skerry/config.toml"
APPLY = "skerry config apply >/dev/null"
REMOVED = "rm @"
MODE = "chmod 600 @; chown root:root @"
ENGINE = "/etc/docker/daemon.json"


@dataclass(frozen=True)
class Fault:
    """One fault; `check` has to name it with `said` in its cause, within `seconds`."""

    name: str
    check: str
    said: str
    plant: str
    undo: str
    arguments: tuple[str, ...] = ()
    seconds: float = 15
    quick: bool = False
    """Belongs to the few of every test run."""

    def is_named_in(self, report: Mapping[str, Any]) -> bool:
        """Tell whether the right check says the right thing, in JSON of `skerry check`."""
        entry = report["checks"][self.check]
        text = " ".join((entry["cause"], *entry["evidence"]))
        return entry["result"]["result"] in BAD and self.said in text


@contextmanager
def planted(site: Site, fault: Fault) -> Iterator[None]:
    """Have the appliance suffer from a fault; afterwards it is healthy again."""
    site.sh(fault.plant, seconds=120)
    try:
        yield
    finally:
        site.sh(fault.undo, seconds=120)
        site.await_health()


def named(site: Site, fault: Fault) -> dict[str, Any]:
    """Return the first report that names the fault, or the last one within its time."""
    deadline = time.monotonic() + fault.seconds
    while True:
        report, _ = site.check(*fault.arguments)
        if fault.is_named_in(report) or time.monotonic() > deadline:
            return report
        time.sleep(0.5)


def material(identity: Signed) -> dict[str, str]:
    """Return the files of /var/faults: certificates of the device that do not hold, and others."""
    other = lasting("somebody else")
    past, soon, future = (-30, -1), (-30, 3), (3, 30)
    return {
        "expired.pem": lasting(NAME, *past, key=identity.key).chain_pem,
        "soon.pem": lasting(NAME, *soon, key=identity.key).chain_pem,
        "future.pem": lasting(NAME, *future, key=identity.key).chain_pem,
        "garbage.pem": "-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n",
        "other.pem": other.chain_pem,
        "other.key.pem": other.key_pem,
        "expired-ca.pem": lasting("site CA", *past, authority=True).chain_pem,
    }


def stopped(name: str, *units: str, check: str, said: str, quick: bool = False) -> Fault:
    words = " ".join(units)
    starts = " ".join(sorted(units, key=lambda unit: not unit.endswith(".socket")))
    plant = f"systemctl stop {words}"
    return Fault(name, check, said, plant, f"systemctl start {starts}", quick=quick)


def masked(name: str, *units: str, check: str, said: str) -> Fault:
    words = " ".join(units)
    undo = f"systemctl unmask --runtime {words}; systemctl start {words}"
    return Fault(name, check, said, f"systemctl mask --runtime --now {words}", undo)


def crashing(service: str, check: str, said: str) -> Fault:
    folder = f"/run/systemd/system/skerry-{service}.service.d"
    unit = f"skerry-{service}.service"
    plant = (
        f"mkdir -p {folder}; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' "
        f">{folder}/fault.conf; systemctl daemon-reload; systemctl restart {unit} || true"
    )
    undo = (
        f"rm -r {folder}; systemctl daemon-reload; systemctl reset-failed '{unit}' "
        f"'skerry-{service}*.socket' || true; systemctl restart 'skerry-{service}*.socket'; "
        f"systemctl restart {unit}"
    )
    return Fault(f"{service} ends at once", check, said, plant, undo)


def again(service: str) -> str:
    return f"systemctl reset-failed 'skerry-{service}*' || true; systemctl restart skerry-{service}"


def settings(
    name: str, service: str, text: str, check: str, said: str, *, restart: bool = False
) -> Fault:
    """Lay one more file beside the settings of a service."""
    file = f"/etc/skerry/{service}/config.d/99-fault.toml"
    plant = f"printf '%b' '{text}' >{file}" + (f"; {again(service)} || true" if restart else "")
    return Fault(name, check, said, plant, f"rm {file}; {again(service)}")


def replaced(
    name: str, path: str, how: str, check: str, said: str, after: str = "true", quick: bool = False
) -> Fault:
    """Keep a file, do something to it; put it back."""
    plant = f"cp -a {path} /var/faults/kept; {how}; {after}"
    undo = f"cp -a --remove-destination /var/faults/kept {path}; rm /var/faults/kept; {after}"
    return Fault(name, check, said, plant, undo, quick=quick)


def secret(name: str, file: str, how: str, check: str, said: str, *, quick: bool = False) -> Fault:
    """Do something to a file of /var/secrets; services read them anew."""
    path = f"/var/secrets/{file}"
    # starts that follow each other closely are refused; these do not tell of a crash
    names = ("certd", "keyd", "identityd")
    services, sockets = (
        " ".join(f"skerry-{name}.{kind}" for name in names) for kind in ("service", "socket")
    )
    after = f"systemctl stop {services}; systemctl reset-failed {services} {sockets} || true; "
    after += f"systemctl restart {sockets}"
    return replaced(name, path, how.replace("@", path), check, said, after, quick)


def put(file: str) -> str:
    return f"cat /var/faults/{file} >@"


def firewall(name: str, rule: str, check: str, said: str, *, quick: bool = False) -> Fault:
    plant, undo = (f"iptables -w -{action} {rule}" for action in "ID")
    return Fault(name, check, said, plant, undo, quick=quick, seconds=40)


def engine(name: str, text: str, check: str, said: str) -> Fault:
    """Change daemon.json without a restart of the engine."""
    return replaced(name, ENGINE, f"printf '%s' '{text}' >{ENGINE}", check, said)


def small_disk(name: str, options: str, fill: str, check: str) -> Fault:
    """Put a copy of Skerry's state on a disk of its own, and fill it."""
    state = "/var/lib/skerry"
    plant = (
        f"mkdir -p /run/fault; mount -t tmpfs -o {options} tmpfs /run/fault; "
        f"cp -a {state}/. /run/fault/; mount --bind /run/fault {state}; {fill}"
    )
    return Fault(
        name, check, "the disk with Skerry's state", plant, f"umount {state}; umount /run/fault"
    )
