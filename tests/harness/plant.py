"""An appliance with an edge hub, its cloud and its leaf devices, each in a network of its own.

    the appliance  10.99.0.1      the built image's tree under systemd-nspawn (`harness.site`)
    outside        10.99.0.254    name server, leaf devices; 10.99.0.253 is the cloud's

Cut off means that nobody has the cloud's address any more: packets to it get no answer. What was
cut comes back with the address. Everything ends with its process.
"""

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import sdk
from harness.edged import until
from harness.image import shared_image
from harness.nspawn import Device, boot, forget_engine, leader_of
from harness.site import HUB, NAME, OUTSIDE, ROOT, child, lasting, network_of, plug, prepare
from harness.tree import Overlay, mounted
from skerry.hub.store import view
from skerry.hub.store.database import FILE, connect
from skerry_factory.cache import Cache
from skerry_factory.command_line import default_cache
from skerry_factory.provision import layers_of
from skerry_lab.messages.model import Event
from skerry_lab.store import Store

LEAVES = ("leaf-1", "leaf-2")
MODULES = ("sensor-1", "sensor-2")
ADDRESS, CLOUD = "10.99.0.1", "10.99.0.253"
READY_SECONDS = 180
CONNECT_SECONDS = 3
LAB = str(Path(sys.executable).with_name("skerry-lab"))
CONFIG = """
hostname = "{name}"
trust_bundle_cert = "file:///var/secrets/hub-ca.pem"
[provisioning]
source = "manual"
connection_string = "{connection}"
[hub.routes]
up = "FROM /messages/* INTO $upstream"
"""
MODULE = """
[modules.{name}]
image = "localhost/skerry/sample-sensor:0.1.0"
env = {{ INTERVAL_SECONDS = "0.2" }}
"""


@dataclass
class Plant:
    """What stands there; `device` is another after a reboot."""

    folder: Path
    overlay: Overlay
    outside: "subprocess.Popen[bytes]"
    boots: ExitStack
    leaves: dict[str, "Leaf"] = field(default_factory=dict)

    @property
    def lab(self) -> Path:
        return self.folder / "lab"

    def sh(self, script: str, seconds: float = 60) -> str:
        """Run a script in the appliance; it must succeed."""
        return _done(self.device.run("sh", "-ec", script, timeout_seconds=seconds), script)

    def write(self, path: str, text: str, mode: int) -> None:
        """Write a file of the appliance."""
        inside = Path(f"/proc/{self.device.leader}/root{path}")
        inside.write_text(text)
        inside.chmod(mode)

    def beyond(self, *command: str) -> list[str]:
        """Return a command as it runs outside the appliance."""
        return ["nsenter", "--target", str(self.outside.pid), "--net", "--", *command]

    def out(self, script: str) -> str:
        """Run a script outside the appliance; it must succeed."""
        done = subprocess.run(
            self.beyond("sh", "-ec", script),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return _done(done, script)

    def boot(self) -> None:
        """Switch the appliance on, and take its cable outside."""
        console = self.boots.enter_context((self.folder / "console").open("a"))
        self._machine = self.boots.enter_context(boot(self.overlay, console.fileno()))
        leader = leader_of(self._machine, self.folder)
        self.device = Device(leader, self.overlay, self.folder, self.folder)
        plug(leader, self.outside.pid)

    def is_open(self, port: int) -> bool:
        """Tell whether the appliance answers on a port to somebody outside."""
        command = self.beyond(
            "timeout", str(CONNECT_SECONDS), "bash", "-c", f"</dev/tcp/{ADDRESS}/{port}"
        )
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def reach_cloud(self) -> None:
        self.out(f"ip address add {CLOUD}/24 dev outside0")

    def lose_cloud(self) -> None:
        self.out(f"ip address delete {CLOUD}/24 dev outside0")

    def reboot(self) -> None:
        """Restart the appliance in order; the cloud is lost to it."""
        self.device.run("systemctl", "reboot")
        self._machine.wait(READY_SECONDS)
        self.boot()

    def arrived(self, source: str) -> list[Event]:
        """Return what the cloud has of a device or `device/module`, oldest first."""
        with closing(Store(self.lab)) as store:
            found = store.do(lambda cloud: list(cloud.messages.read(0, 1_000_000, 10**9)))
        return [event for event in found if str(event.telemetry.identity) == source]

    def waiting(self) -> Counter[str]:
        """Return how many messages of whom the hub keeps, also while it does not run."""
        with self._store() as connection:
            found = view.peek(connection, "upstream", 1_000_000)
            return Counter(each.message.source for each in found if each.message is not None)

    def ledger(self) -> Counter[str]:
        """Return how many messages met with what, by the hub's counters."""
        counts = Counter[str]()
        with self._store() as connection:
            for total in view.totals(connection):
                counts[total.outcome] += total.count
        return counts

    @contextmanager
    def _store(self) -> Iterator[sqlite3.Connection]:
        folder = self.folder / "docker/volumes/skerry-hub/_data/edgeHub"
        with closing(connect(folder / FILE)) as connection:
            connection.execute("PRAGMA query_only = ON")
            yield connection


@dataclass
class Leaf:
    """A device of the stock SDK that sends number after number, whatever happens."""

    name: str
    process: "subprocess.Popen[str]"
    log: Path

    def tell(self, word: str) -> Any:
        """Tell it something; returns what it says to that."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.next_line()

    def next_line(self) -> Any:
        """Return what it says, desired properties apart."""
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            assert line, f"{self.name} has ended; it said: {self.log.read_text()}"
            told = json.loads(line)
            if "desired" not in told:
                return told


def _done(done: "subprocess.CompletedProcess[str]", what: str) -> str:
    assert done.returncode == 0, f"{what}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def running_plant(work: Path) -> Iterator[Plant]:
    """Boot the appliance, configure it, start its leaf devices; all of them send."""
    inputs = shared_image().read_manifest()["inputs"]
    cache = Cache(default_cache())
    base = cache.entry("bootstrap", inputs["bootstrap"]) / "tree"
    overlay = Overlay(base, work, tuple(layers_of(inputs["roles"], cache)))
    overlay.make_folders()
    with mounted(overlay) as root:
        prepare(root, lasting(NAME))
    with ExitStack() as stack:
        stack.callback(forget_engine, overlay)
        outside = stack.enter_context(child(work, ["unshare", "--net", "sleep", "infinity"]))
        until(lambda: network_of(outside.pid) != network_of(os.getpid()), "a network outside")
        plant = Plant(work, overlay, outside, stack.enter_context(ExitStack()))
        plant.boot()
        plant.reach_cloud()
        stack.enter_context(cloud(plant))
        own = register(plant, NAME, "--edge-enabled", "true")
        strings = {name: register(plant, name, "--parent", NAME) for name in LEAVES}
        configure(plant, own)
        for name, connection in strings.items():
            plant.leaves[name] = stack.enter_context(leaf(plant, name, connection))
        yield plant


@contextmanager
def cloud(plant: Plant) -> Iterator[None]:
    """Run name server and lab outside."""
    names = plant.folder / "names.json"
    names.write_text(json.dumps({HUB: CLOUD}))
    server = [sys.executable, str(ROOT / "tests/fakes/site.py"), OUTSIDE, str(names)]
    serve = [LAB, "up", "--data", str(plant.lab), "--host", HUB, "--listen", "0.0.0.0"]  # noqa: S104
    serve += ["--https-port", "443", "--mqtt-port", "8883"]
    with (
        child(plant.folder, plant.beyond(*server)),
        child(plant.folder, plant.beyond(*serve)),
    ):
        until(lambda: (plant.lab / "lab.json").exists(), "the lab serves")
        yield


def configure(plant: Plant, connection: str) -> None:
    """Apply a configuration with a hub and two modules, and wait until the cloud hears them."""
    config = CONFIG.format(name=NAME, connection=connection)
    config += "".join(MODULE.format(name=name) for name in MODULES)
    plant.device.wait_for("systemctl", "is-active", "docker.service", seconds=READY_SECONDS)
    plant.write("/var/secrets/hub-ca.pem", (plant.lab / "ca.pem").read_text(), 0o644)
    plant.write("/etc/skerry/config.toml", config, 0o600)
    plant.sh("skerry config apply", READY_SECONDS)
    until(
        lambda: all(plant.arrived(f"{NAME}/{one}") for one in MODULES),
        "the modules are heard",
        seconds=READY_SECONDS,
    )


def register(plant: Plant, name: str, *options: str) -> str:
    """Register a device; returns its connection string."""
    command = [LAB, "device", "create", name, "--data", str(plant.lab), "--output", "json"]
    told = json.loads(plant.out(shlex.join([*command, *options])))
    return str(told["connectionString"])


@contextmanager
def leaf(plant: Plant, name: str, connection: str) -> Iterator[Leaf]:
    """Run a leaf device of the stock SDK outside, which knows the appliance by its name."""
    root, hosts = plant.folder / "gateway.pem", plant.folder / "hosts"
    root.write_text(plant.sh("skerry certificates trust"))
    hosts.write_text(f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n")
    facts = {"device": f"{connection};GatewayHostName={NAME}", "root": str(root)}
    script = f'mount --bind {shlex.quote(str(hosts))} /etc/hosts && exec "$@"'
    program = [str(sdk.python()), "-W", "ignore", str(ROOT / "tests/lab/sdk/sender.py")]
    command = plant.beyond(
        *("unshare", "--mount", "sh", "-c", script, "sh", *program, json.dumps(facts))
    )
    log = plant.folder / f"{name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        made = Leaf(name, process, log)
        assert made.next_line() == "ready"
        yield made
    finally:
        process.kill()
        process.communicate()
