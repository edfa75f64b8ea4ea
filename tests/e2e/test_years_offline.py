"""400 days without a network: certificates are renewed in time, whatever the device goes through.

keyd, certd and identityd are started from their state folders and stopped again whenever they would
be: they sleep between two calls, edged's waker wakes them, and every boot begins from the disk.
Only time is not real. The device is on for hours to weeks, off for minutes to months, and its clock
may start in the past.
"""

import itertools
import os
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509 as pyca
from cryptography.hazmat.primitives.asymmetric import ec

from harness.clock import MovableClock
from harness.services import Hosted, Services
from harness.tiers import Counts
from skerry.base.log import get_logger
from skerry.base.upkeep import as_json
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.certs.pair import Pair
from skerry.certs.renewal import Life, RenewalPolicy, life_of
from skerry.identity.client import IdentityClient
from skerry.keys.client import KeysClient
from skerry.workloads.device import Device
from skerry.workloads.edge_ca import EdgeCa
from skerry.workloads.settings import EdgeCaSettings
from skerry.workloads.waker import Waker

DAYS = 400
CERTD = """
[cert_issuance]
device-id = {{ method = "{device}", expiry_days = 60, common_name = "house" }}
device-id-temp = {{ method = "{device}", expiry_days = 60, common_name = "house" }}
aziot-edged-ca = {{ method = "{edge_ca}", expiry_days = 90 }}
aziot-edged-ca-temp = {{ method = "{edge_ca}", expiry_days = 90 }}
local_ca = {{ cert = "local-ca", pk = "local-ca" }}
local-ca = {{ method = "self_signed", expiry_days = 120 }}
[preloaded_certs]
bundle = ["aziot-edged-ca"]
[[principal]]
uid = {uid}
certs = ["*"]
"""
IDENTITYD = """
hostname = "house"
[[principal]]
uid = {uid}
name = "aziot-edge"
[provisioning]
source = "standalone"
iothub_hostname = "house"
device_id = "house"
[provisioning.authentication]
method = "x509"
identity_cert = "device-id"
identity_pk = "device-id"
[provisioning.authentication.identity_auto_renew]
rotate_key = {rotate}
threshold = "80%"
retry = "4%"
"""


@dataclass
class Sleeper:
    """A service that exits when it is idle, and is started by whoever asks it."""

    appliance: "Appliance"
    name: str

    def get(self, _path: str) -> object:
        return as_json(self.appliance.woken(self.name).upkeep.run_due())


@dataclass
class Module:
    """Asks for a certificate when it starts, and when four fifths of its life are over."""

    key: ec.EllipticCurvePrivateKey
    chain: list[pyca.Certificate] = field(default_factory=list)

    def look(self, edge_ca: EdgeCa, now: datetime, *, started: bool) -> None:
        if not started:
            # the workload API's `expiration`
            end = min(certificate.not_valid_after_utc for certificate in self.chain)
            started = RenewalPolicy().is_due(Life(self.chain[0].not_valid_before_utc, end), now)
        if started:
            csr = x509.server_request(x509.common_name("hub"), ["hub"], self.key)
            self.chain = edge_ca.issue("aziot-edged/module/hub:1:server", csr)


@dataclass
class Appliance:
    """The device; `running` are the services that are awake."""

    services: Services
    clock: MovableClock
    rotate: bool
    running: dict[str, Hosted] = field(default_factory=dict)
    module: Module = field(default_factory=lambda: Module(ec.generate_private_key(ec.SECP256R1())))
    renewed: set[tuple[str, int]] = field(default_factory=set)

    def woken(self, name: str) -> Hosted:
        """Start a service, and what it needs, as socket activation does."""
        for needed in ("keyd", "certd", "identityd"):
            if needed not in self.running:
                self.running[needed] = self.services.host(needed)
        return self.running[name]

    def sleep(self) -> None:
        """Have every service exit."""
        self.services.stop()
        self.services.hosted.clear()
        self.running.clear()

    def boot(self) -> None:
        """Start edged's part anew: from the disk."""
        self.woken("identityd")
        device = Device()
        device.set(IdentityClient(self.services.socket("identityd")).device())
        log = get_logger("edged")
        self.certs = CertsClient(self.services.socket("certd"))
        self.keys = KeysClient(self.services.socket("keyd"))
        self.edge_ca = EdgeCa(
            self.certs,
            self.keys,
            device,
            EdgeCaSettings(True, RenewalPolicy(self.rotate)),
            self.services.folder / "cache",
            self.clock,
            log,
        )
        self.edge_ca.ensure()
        sleepers = {name: Sleeper(self, name) for name in ("certd", "identityd")}
        self.waker = Waker(sleepers, lambda: "1", self.clock, log)
        self.look(started=True)

    def look(self, *, started: bool = False) -> None:
        """What edged does every minute, and a module now and then; then look at what is in use."""
        self.waker.look()
        self.woken("certd")
        if self.edge_ca.is_due():
            self.edge_ca.ensure()
        self.module.look(self.edge_ca, self.clock.now(), started=started)
        self.check()
        self.sleep()

    def check(self) -> None:
        """Nothing that is in use has expired, is not valid yet, or belongs to another key."""
        now = self.clock.now()
        in_use = {"module": self.module.chain}
        for name in ("device-id", "aziot-edged-ca"):
            current = Pair(name, self.keys, self.certs).current()
            assert current is not None, f"{name}: key and certificate do not belong together"
            in_use[name] = list(current.chain)
            self.renewed.add((name, current.chain[0].serial_number))
        for name, chain in in_use.items():
            for certificate in chain:
                life = life_of(certificate)
                assert life.holds(now), f"{name} is {life}, and it is {now}"
            for certificate, issuer in itertools.pairwise(chain):
                certificate.verify_directly_issued_by(issuer)
        bundle = x509.load_chain(self.edge_ca.trusted_beside(self.certs.get("bundle")))
        trusted = {ca.subject for ca in bundle}
        assert self.module.chain[-1].issuer in trusted


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("method", "rotate"),
    [
        pytest.param("self_signed", True),
        pytest.param("self_signed", False, marks=pytest.mark.faults),
        pytest.param("local_ca", True, marks=pytest.mark.faults),
    ],
)
def test_no_expired_certificate_is_ever_in_use(
    tmp_path: Path, counts: Counts, method: str, rotate: bool
) -> None:
    """Device identity, edge CA and a module's certificate over 400 days and dozens of boots."""
    runs = counts.of("runs of 400 days offline", reduced=1, full=10)
    for seed in range(runs):
        clock = MovableClock()
        end = clock.now() + timedelta(days=DAYS)
        services = Services(tmp_path / f"{method}-{seed}", clock)
        uid = os.getuid()
        services.configure("keyd", f'[[principal]]\nuid = {uid}\nkeys = ["*"]\n')
        services.configure("certd", CERTD.format(uid=uid, device=method, edge_ca=method))
        services.configure("identityd", IDENTITYD.format(uid=uid, rotate=str(rotate).lower()))
        appliance = Appliance(services, clock, rotate)
        try:
            boots = live(appliance, end, random.Random(f"{method} {rotate} {seed}"))  # noqa: S311
        finally:
            appliance.sleep()
        assert boots >= 3
        for name in ("device-id", "aziot-edged-ca"):
            made = sum(1 for owner, _ in appliance.renewed if owner == name)
            assert made >= 2, f"{name} was made {made} times in {DAYS} days"


def live(appliance: Appliance, end: datetime, chance: random.Random) -> int:
    """Switch the device on and off until the end; returns how often it booted."""
    boots = 0
    while appliance.clock.now() < end:
        if chance.random() < 0.1:
            # a dead battery: the clock starts in the past, until the network of the site sets it
            behind = timedelta(days=chance.uniform(1, 300))
            appliance.clock.move(-behind)
            appliance.boot()
            appliance.clock.move(behind)
            appliance.look()
        appliance.boot()
        boots += 1
        switched_off = appliance.clock.now() + timedelta(hours=chance.choice([2, 30, 200, 500]))
        while appliance.clock.now() < switched_off:
            appliance.clock.move(timedelta(hours=chance.uniform(1, 48)))
            appliance.look()
        appliance.clock.move(timedelta(minutes=chance.choice([1, 600, 10_000, 100_000])))
    return boots
