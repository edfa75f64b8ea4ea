"""A booted appliance at a site of its own: the built image's tree with a name server and a cloud.

The tree is the factory's, layer by layer, under systemd-nspawn (`harness.nspawn`): its units, its
Moby, its images. Name server, time server and the lab cloud run on this host, in a network of their
own at the other end of the machine's only cable. The device is known to the hub by a certificate
out of files, and issues certificates of its own by a CA out of files: there is something to break.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256

from harness.image import shared_image
from harness.lab import Signed, signed
from harness.nspawn import CGROUP_UNIT, Device, leader_of, nspawn
from harness.tree import Overlay, mounted
from skerry_factory.cache import Cache
from skerry_factory.command_line import default_cache
from skerry_factory.provision import layers_of

ROOT = Path(__file__).resolve().parents[2]
NAME = "pump-station-7"
HUB = "hub.test"
OUTSIDE = "10.99.0.254"
SECRETS = "/var/secrets"
READY_SECONDS = 120
PLANTED = "nobody but the sensor may read this"
"""A secret of its module."""
BAD = {"warning", "error", "fatal"}
CONFIG = f"""
hostname = "{NAME}"
trust_bundle_cert = "file://{SECRETS}/hub-ca.pem"
[provisioning]
source = "manual"
iothub_hostname = "{HUB}"
device_id = "{NAME}"
[provisioning.authentication]
method = "x509"
identity_cert = "file://{SECRETS}/device.pem"
identity_pk = "file://{SECRETS}/device.key.pem"
[cert_issuance.local_ca]
cert = "file://{SECRETS}/site-ca.pem"
pk = "file://{SECRETS}/site-ca.key.pem"
[edge_ca]
method = "local_ca"
expiry_days = 90
auto_renew = {{ rotate_key = true, threshold = "80%", retry = "4%" }}
[modules.sample-sensor]
image = "localhost/skerry/sample-sensor:0.1.0"
env = {{ INTERVAL_SECONDS = "1" }}
secrets = ["site-key"]
[modules.sample-sensor.createOptions.HostConfig.PortBindings]
"8080/tcp" = [{{ HostPort = "8080" }}]
[secrets.site-key]
value = "{PLANTED}"
"""
NETWORK = (
    f"[Match]\nName=uplink0\n[Network]\nAddress=10.99.0.1/24\nGateway={OUTSIDE}\nDNS={OUTSIDE}\n"
)
CHRONY = (
    "[Unit]\nConditionCapability=\n[Service]\nExecStart=\nExecStart=!/usr/sbin/chronyd -x -F 1\n"
)
"""Nobody may set the clock of this machine: the service runs, and leaves it alone."""


def lasting(name: str, begins: int = -1, ends: int = 300, **more: Any) -> Signed:
    """Make a self-signed certificate, valid from and until so many days from now."""
    start = datetime.now(UTC) + timedelta(days=begins)
    return signed(name, start=start, days=ends - begins, **more)


@dataclass(frozen=True)
class Site:
    """One appliance and what is around it."""

    device: Device
    folder: Path
    identity: Signed

    def run(self, *command: str, seconds: float = 60) -> "subprocess.CompletedProcess[str]":
        return self.device.run(*command, timeout_seconds=seconds)

    def sh(self, script: str, seconds: float = 60) -> str:
        """Run a shell script in the appliance; returns what it printed. It must succeed."""
        done = self.run("sh", "-ec", script, seconds=seconds)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file of the appliance."""
        inside = Path(f"/proc/{self.device.leader}/root{path}")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(text)
        inside.chmod(int(mode, 8))

    def read(self, path: str) -> str:
        return Path(f"/proc/{self.device.leader}/root{path}").read_text()

    def check(self, *arguments: str) -> tuple[dict[str, Any], float]:
        """Run `skerry check`; returns its JSON and how long it took."""
        began = time.monotonic()
        done = self.run("skerry", "check", "--output", "json", *arguments)
        seconds = time.monotonic() - began
        assert done.stdout.startswith("{"), done
        found: dict[str, Any] = json.loads(done.stdout)
        return found, seconds

    def bad(self, *arguments: str) -> dict[str, str]:
        """Return the causes of what is wrong, by check."""
        return bad_of(self.check(*arguments)[0])

    def resolves(self, hub: str, address: str) -> None:
        """Have the name server know the hub, and the time servers."""
        known = json.dumps({hub: address, "pool.ntp.org": OUTSIDE})
        new = self.folder / "names.new"
        new.write_text(known)
        new.rename(self.folder / "names.json")

    def time_is_off(self, seconds: float) -> None:
        """Have the time server say another time than this machine's."""
        (self.folder / "names.json.offset").write_text(str(seconds))

    def await_health(self, seconds: float = READY_SECONDS) -> None:
        """Wait until the appliance has nothing to complain about."""
        deadline = time.monotonic() + seconds
        while bad := self.bad():
            assert time.monotonic() < deadline, bad
            time.sleep(0.5)


def bad_of(report: dict[str, Any]) -> dict[str, str]:
    return {
        name: entry["cause"]
        for name, entry in report["checks"].items()
        if entry["result"]["result"] in BAD
    }


@contextmanager
def running_site(work: Path) -> Iterator[Site]:
    """Boot an appliance with a configuration in force and its modules running."""
    inputs = shared_image().read_manifest()["inputs"]
    cache = Cache(default_cache())
    base = cache.entry("bootstrap", inputs["bootstrap"]) / "tree"
    overlay = Overlay(base, work, tuple(layers_of(inputs["roles"], cache)))
    overlay.make_folders()
    identity = lasting(NAME)
    with mounted(overlay) as root:
        prepare(root, identity)
    with ExitStack() as stack:
        console = stack.enter_context((work / "console").open("w"))
        process = stack.enter_context(nspawn(overlay, console.fileno()))
        device = Device(leader_of(process, work), overlay, work, work)
        site = Site(device, work, identity)
        stack.enter_context(surroundings(site))
        device.wait_for("systemctl", "is-active", "docker.service", seconds=READY_SECONDS)
        site.write("/var/secrets/hub-ca.pem", (work / "lab/ca.pem").read_text())
        site.write("/etc/skerry/config.toml", CONFIG, "0600")
        site.sh("skerry config apply", seconds=READY_SECONDS)
        device.wait_for("sh", "-c", "skerry logs sample-sensor | grep -q reading", seconds=90)
        site.await_health()
        yield site


def prepare(root: Path, identity: Signed) -> None:
    """Give the tree a name, a network, and the files that its configuration speaks of."""
    authority = lasting("site CA", authority=True)
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").write_text(f"{NAME}\n")
    files = {
        "etc/systemd/system/test-cgroups.service": CGROUP_UNIT,
        "etc/systemd/system/chrony.service.d/test.conf": CHRONY,
        "etc/systemd/network/10-uplink.network": NETWORK,
        "var/secrets/device.pem": identity.chain_pem,
        "var/secrets/device.key.pem": identity.key_pem,
        "var/secrets/site-ca.pem": authority.chain_pem,
        "var/secrets/site-ca.key.pem": authority.key_pem,
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    system = root / "etc/systemd/system"
    (system / "sysinit.target.wants").mkdir(exist_ok=True)
    (system / "sysinit.target.wants/test-cgroups.service").symlink_to(
        "/etc/systemd/system/test-cgroups.service"
    )
    # its host key comes with a seed, and nobody logs in here
    (system / "ssh.service").symlink_to("/dev/null")


@contextmanager
def surroundings(site: Site) -> Iterator[None]:
    """Plug the machine in: its cable leads to name server, time server and hub."""
    site.resolves(HUB, OUTSIDE)
    lab = site.folder / "lab"
    program = str(Path(sys.executable).with_name("skerry-lab"))
    with ExitStack() as stack:
        outside = stack.enter_context(child(site.folder, ["unshare", "--net", "sleep", "infinity"]))
        until(lambda: network_of(outside.pid) != network_of(os.getpid()), "a network outside")
        plug(site.device.leader, outside.pid)
        inside = ["nsenter", "--target", str(outside.pid), "--net", "--"]
        names = str(site.folder / "names.json")
        servers = [sys.executable, str(ROOT / "tests/fakes/site.py"), OUTSIDE, names]
        stack.enter_context(child(site.folder, [*inside, *servers]))
        up = [program, "up", "--data", str(lab), "--host", HUB, "--listen", OUTSIDE]
        ports = ["--https-port", "443", "--mqtt-port", "8883"]
        stack.enter_context(child(site.folder, [*inside, *up, *ports]))
        until(lambda: (lab / "lab.json").exists(), "the lab serves", READY_SECONDS)
        create = [program, "device", "create", NAME, "--data", str(lab), "--edge-enabled", "true"]
        thumbprint = site.identity.chain[0].fingerprint(SHA256()).hex().upper()
        proof = ["--auth-method", "x509_thumbprint", "--primary-thumbprint", thumbprint]
        subprocess.run([*create, *proof], check=True, capture_output=True, timeout=60)
        yield


def network_of(pid: int) -> str:
    """Return the network namespace of a process."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def plug(machine: int, outside: int) -> None:
    """Lay a cable from one process's network to another's."""

    def ip(pid: int, *words: str) -> None:
        command = ["nsenter", "--target", str(pid), "--net", "--", "ip", *words]
        subprocess.run(command, check=True, timeout=30)

    peer = ("peer", "name", "outside0", "netns", str(outside))
    ip(machine, "link", "add", "uplink0", "type", "veth", *peer)
    ip(outside, "address", "add", f"{OUTSIDE}/24", "dev", "outside0")
    ip(outside, "link", "set", "outside0", "up")
    ip(outside, "link", "set", "lo", "up")


@contextmanager
def child(folder: Path, command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program of this host that ends with the block, or with this process."""
    with (folder / "surroundings.log").open("ab") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(holds: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
