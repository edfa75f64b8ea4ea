"""The renewal of the edge CA under running modules, at an injected time."""

import os
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509 as pyca
from cryptography.hazmat.primitives.asymmetric import ec

from harness.clock import MovableClock
from harness.direct import DirectCerts, DirectKeys
from harness.kill_points import kill_at_every_write
from harness.services import Services
from skerry.base.errors import SkerryError
from skerry.base.log import get_logger
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.certs.pair import Pair
from skerry.certs.renewal import RenewalPolicy, Span, life_of
from skerry.identity.client import Identity
from skerry.keys.client import KeysClient
from skerry.workloads.device import Device
from skerry.workloads.edge_ca import EdgeCa
from skerry.workloads.settings import EdgeCaSettings

CERTD = """
[cert_issuance]
aziot-edged-ca = {{ method = "{method}", expiry_days = 100 }}
aziot-edged-ca-temp = {{ method = "{method}", expiry_days = 100 }}
local_ca = {{ cert = "local-ca", pk = "local-ca" }}
local-ca = {{ method = "self_signed", expiry_days = 1000 }}
[preloaded_certs]
bundle = ["aziot-edged-ca", "site"]
[[principal]]
uid = {uid}
certs = ["*"]
"""


@dataclass
class Plant:
    """keyd and certd at one time, and edged's part of them."""

    services: Services
    clock: MovableClock
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def keys(self) -> KeysClient:
        return KeysClient(self.services.socket("keyd"))

    @property
    def certs(self) -> CertsClient:
        return CertsClient(self.services.socket("certd"))

    @property
    def cache(self) -> Path:
        return self.services.folder / "cache"

    def run(self, method: str = "self_signed") -> None:
        """Start the services, which a test may do again after `stop`."""
        uid = os.getuid()
        self.services.configure("keyd", f'[[principal]]\nuid = {uid}\nkeys = ["*"]\n')
        self.services.configure("certd", CERTD.format(uid=uid, method=method))
        self.services.host("keyd")
        self.services.host("certd")

    def edge_ca(self, *, rotate: bool = True, issued: bool = True, threshold: int = 80) -> EdgeCa:
        """Return the CA as a newly started edged sees it."""
        device = Device()
        device.set(Identity("house", "house", "house", None, None, "x509", None))
        policy = RenewalPolicy(rotate, Span(threshold), Span(4))
        settings = EdgeCaSettings(issued, policy)
        log = get_logger("edged")
        return EdgeCa(self.certs, self.keys, device, settings, self.cache, self.clock, log)

    def module(self, edge_ca: EdgeCa) -> list[pyca.Certificate]:
        """Return the chain that a module gets as a server."""
        csr = x509.server_request(x509.common_name("hub"), ["hub"], self.key)
        return edge_ca.issue("aziot-edged/module/hub:1:server", csr)

    def bundle(self, edge_ca: EdgeCa) -> bytes:
        """Return the trust bundle of this moment."""
        return edge_ca.trusted_beside(self.certs.get("bundle"))

    def subject(self) -> pyca.Certificate:
        """Return the CA in force."""
        return x509.load_chain(self.certs.get("aziot-edged-ca"))[0]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """A running keyd and certd at a time that the test moves."""
    clock = MovableClock()
    made = Plant(Services(tmp_path, clock), clock)
    made.run()
    yield made
    made.services.stop()


def connects(chain: list[pyca.Certificate], key: ec.EllipticCurvePrivateKey, bundle: bytes) -> bool:
    """Tell whether a TLS client that trusts a bundle accepts a server with a chain, in OpenSSL."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(x509.key_pem(key) + x509.to_pem(chain))
        file.flush()
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_context.load_cert_chain(file.name)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations(cadata=bundle.decode())
    client_context.verify_flags |= 0x200000  # X509_V_FLAG_NO_CHECK_TIME: the time is a test's
    ends = [ssl.MemoryBIO() for _ in range(2)]
    client = client_context.wrap_bio(ends[0], ends[1], server_hostname="hub")
    server = server_context.wrap_bio(ends[1], ends[0], server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                return False
    return True


def test_a_due_ca_is_renewed_for_a_new_key(plant: Plant) -> None:
    """Nothing happens before four fifths of its life; then key and certificate change as one."""
    edge_ca = plant.edge_ca()
    edge_ca.ensure()
    first = plant.subject()
    plant.clock.move(timedelta(days=79))
    assert not edge_ca.is_due()
    edge_ca.ensure()
    assert plant.subject() == first
    plant.clock.move(timedelta(days=1, hours=1))
    assert edge_ca.is_due()
    edge_ca.ensure()
    assert plant.subject().public_key() != first.public_key()
    assert plant.subject().subject == first.subject
    assert not edge_ca.is_due()
    plant.module(edge_ca)[0].verify_directly_issued_by(plant.subject())


def test_the_key_is_kept_where_it_shall_be(plant: Plant) -> None:
    """rotate_key = false: a new certificate for the same key."""
    edge_ca = plant.edge_ca(rotate=False)
    edge_ca.ensure()
    first = plant.subject()
    plant.clock.move(timedelta(days=81))
    edge_ca.ensure()
    assert plant.subject() != first
    assert plant.subject().public_key() == first.public_key()
    assert plant.bundle(edge_ca) == plant.certs.get("bundle")


def test_modules_of_before_and_after_understand_each_other(plant: Plant) -> None:
    """Old bundle and new chain, new bundle and old chain: every TLS handshake succeeds."""
    edge_ca = plant.edge_ca()
    edge_ca.ensure()
    old_chain, old_bundle = plant.module(edge_ca), plant.bundle(edge_ca)
    plant.clock.move(timedelta(days=81))
    edge_ca.ensure()
    edge_ca = plant.edge_ca()  # nothing depends on edged's memory
    new_chain, new_bundle = plant.module(edge_ca), plant.bundle(edge_ca)
    for chain in (old_chain, new_chain):
        for bundle in (old_bundle, new_bundle):
            assert connects(chain, plant.key, bundle)
    stranger = x509.to_pem([plant_like(plant)])
    assert not connects(new_chain, plant.key, stranger)


def plant_like(plant: Plant) -> pyca.Certificate:
    """Return a CA of the same name with another key."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.load_request(x509.ca_request(plant.subject().subject, key))
    return x509.issue(request, key, now=plant.clock.now(), lifetime=timedelta(days=10))


def test_two_renewals_in_the_life_of_one_bundle_hold(plant: Plant) -> None:
    """Chains lead back to the earliest CA that has not expired."""
    edge_ca = plant.edge_ca(threshold=20)
    edge_ca.ensure()
    bundle = plant.bundle(edge_ca)
    for _ in range(2):
        plant.clock.move(timedelta(days=21))
        edge_ca.ensure()
    chain = plant.module(edge_ca)
    assert len(chain) == 3
    assert connects(chain, plant.key, bundle)


def test_a_former_ca_leaves_the_bundle_when_it_expires(plant: Plant) -> None:
    """Nothing that it issued lives longer, so nobody needs it."""
    edge_ca = plant.edge_ca()
    edge_ca.ensure()
    leaf = plant.module(edge_ca)[0]
    first = plant.subject()
    plant.clock.move(timedelta(days=81))
    edge_ca.ensure()
    assert first in x509.load_chain(plant.bundle(edge_ca))
    assert leaf.not_valid_after_utc <= first.not_valid_after_utc
    plant.clock.move(timedelta(days=20))
    assert x509.load_chain(plant.bundle(edge_ca)) == [plant.subject()]
    assert plant.module(edge_ca)[1:] == [plant.subject()]


def test_a_ca_below_a_local_one_needs_no_link(plant: Plant) -> None:
    """Both have the same root; chains lead there."""
    plant.services.stop()
    plant.services.hosted.clear()
    plant.run("local_ca")
    edge_ca = plant.edge_ca()
    edge_ca.ensure()
    first, bundle = plant.module(edge_ca), plant.certs.get("local-ca")
    plant.clock.move(timedelta(days=81))
    edge_ca.ensure()
    second = plant.module(edge_ca)
    assert second[1] != first[1]
    for chain in (first, second):
        assert connects(chain, plant.key, bundle)


def test_a_renewal_that_fails_is_tried_again_after_the_pause(plant: Plant) -> None:
    """4 % of its life later, and not before; meanwhile the CA goes on to serve."""
    edge_ca = plant.edge_ca()
    edge_ca.ensure()
    first = plant.subject()
    plant.clock.move(timedelta(days=81))
    plant.services.configure("certd", CERTD.format(uid=os.getuid(), method="est"))
    plant.services.stop()
    plant.services.hosted.clear()
    plant.services.host("keyd")
    plant.services.host("certd")
    edge_ca = plant.edge_ca()
    edge_ca.ensure()
    assert plant.subject() == first
    plant.module(edge_ca)
    assert not edge_ca.is_due()
    plant.clock.move(timedelta(days=4, hours=1))
    assert edge_ca.is_due()


def test_an_expired_ca_that_cannot_be_renewed_is_an_error(plant: Plant) -> None:
    """edged says so and tries again; nothing is issued under it."""
    edge_ca = plant.edge_ca()
    edge_ca.ensure()
    plant.clock.move(timedelta(days=101))
    plant.services.configure("certd", CERTD.format(uid=os.getuid(), method="est"))
    plant.services.stop()
    plant.services.hosted.clear()
    plant.services.host("keyd")
    plant.services.host("certd")
    with pytest.raises(SkerryError, match="has no url"):
        plant.edge_ca().ensure()
    with pytest.raises(SkerryError, match="has no url"):
        plant.module(edge_ca)


def test_a_clock_set_back_has_the_ca_made_anew(plant: Plant) -> None:
    """A CA from a time when the clock was years ahead is not valid yet, and renewed at once."""
    plant.clock.move(timedelta(days=3650))
    edge_ca = plant.edge_ca()
    edge_ca.ensure()
    plant.clock.move(timedelta(days=-3650))
    assert edge_ca.is_due()
    edge_ca.ensure()
    assert plant.subject().not_valid_before_utc <= plant.clock.now()
    plant.module(edge_ca)


def test_a_module_that_asks_after_a_jump_of_the_clock_is_served(plant: Plant) -> None:
    """The CA has just expired, and nobody had a look yet: it is renewed on the way."""
    edge_ca = plant.edge_ca()
    edge_ca.ensure()
    for jump in (timedelta(days=200), timedelta(days=-300)):
        plant.clock.move(jump)
        for certificate in plant.module(edge_ca):
            assert life_of(certificate).holds(plant.clock.now())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"former": "x", "links": ""}'])
def test_a_broken_memory_of_former_cas_stops_nothing(plant: Plant, content: bytes) -> None:
    """It is passed over, and written anew with the next renewal."""
    edge_ca = plant.edge_ca()
    edge_ca.ensure()
    plant.cache.mkdir(exist_ok=True)
    (plant.cache / "edge_ca_former.json").write_bytes(content)
    assert len(plant.module(edge_ca)) == 2
    assert plant.bundle(edge_ca) == plant.certs.get("bundle")


def test_a_ca_brought_along_is_never_made(plant: Plant) -> None:
    """It has to be there, and is not due."""
    edge_ca = plant.edge_ca(issued=False)
    with pytest.raises(SkerryError, match=r"check \[edge_ca\] cert and pk"):
        edge_ca.ensure()
    plant.edge_ca().ensure()
    edge_ca.ensure()
    plant.clock.move(timedelta(days=99))
    assert not edge_ca.is_due()


@pytest.mark.faults
def test_a_kill_at_any_write_leaves_the_old_pair_or_the_new(tmp_path: Path) -> None:
    """At every system call of keyd, certd and edged that changes a file during a renewal."""
    template, folder = tmp_path / "template", tmp_path / "device"
    clock = MovableClock()

    def edged(state: Path) -> tuple[EdgeCa, DirectCerts]:
        keys = DirectKeys(state / "keyd")
        entry: dict[str, object] = {"method": "self_signed", "expiry_days": 100}
        issuance: dict[str, object] = {"aziot-edged-ca": entry, "aziot-edged-ca-temp": entry}
        certs = DirectCerts(state / "certd", issuance, keys, clock)
        device = Device()
        device.set(Identity("house", "house", "house", None, None, "x509", None))
        log = get_logger("edged")
        settings = EdgeCaSettings(issued=True)
        return EdgeCa(certs, keys, device, settings, state / "cache", clock, log), certs

    edge_ca, certs = edged(template)
    edge_ca.ensure()
    old = x509.load_chain(certs.get("aziot-edged-ca"))[0]
    clock.move(timedelta(days=85))
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.server_request(x509.common_name("hub"), ["hub"], key)
    seen = set()

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)

    def check() -> None:
        survivor, certs = edged(folder)
        ca = Pair("aziot-edged-ca", DirectKeys(folder / "keyd"), certs).current()
        assert ca is not None
        seen.add(ca.chain[0] == old)
        leaf = survivor.issue("aziot-edged/module/hub:1:server", csr)
        leaf[0].verify_directly_issued_by(ca.chain[0])
        bundle = survivor.trusted_beside(certs.get("aziot-edged-ca"))
        assert connects(leaf, key, x509.to_pem([old]))
        assert old in x509.load_chain(bundle)

    found = kill_at_every_write(prepare, lambda: edged(folder)[0].ensure(), check)
    assert seen == {True, False}
    assert len(found.calls) > 20
