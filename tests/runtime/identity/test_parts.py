"""Parts of identityd on their own: reconciling, renewal, what its peers may answer."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.services import Services
from skerry.base.client import ApiError
from skerry.base.log import get_logger
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.certs.renewal import RenewalPolicy
from skerry.identity.certificate import DeviceCertificate
from skerry.identity.model import Auth, Device
from skerry.identity.modules import LocalModules, reconcile
from skerry.identity.settings import CertificateSource
from skerry.identity.store import ModuleStore
from skerry.keys.client import KeysClient

DEVICE = Device("pump", "pump", "pump-7", Auth.X509)
SOURCE = CertificateSource("device-id", "pump-7", RenewalPolicy(rotate_key=False))
UID = os.getuid()


@dataclass
class MovableClock:
    """Time that a test sets."""

    time: datetime

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """A keyd and a certd."""
    running = Services(tmp_path)
    running.configure("keyd", f'[[principal]]\nuid = {UID}\nkeys = ["*"]\n')
    running.configure(
        "certd",
        '[cert_issuance.device-id]\nmethod = "self_signed"\nexpiry_days = 100\n'
        f'[[principal]]\nuid = {UID}\ncerts = ["*"]\n',
    )
    running.host("keyd")
    running.host("certd")
    yield running
    running.stop()


def device_certificate(services: Services, clock: MovableClock) -> DeviceCertificate:
    """Return the device's certificate at a clock of its own; certd's stays the machine's."""
    keys, certs = KeysClient(services.socket("keyd")), CertsClient(services.socket("certd"))
    return DeviceCertificate(SOURCE, keys, certs, clock, get_logger("identityd"))


def test_reconciling_keeps_makes_and_removes(tmp_path: Path) -> None:
    """What the settings still name keeps its generation; modules of others are left alone."""
    modules = LocalModules(ModuleStore(tmp_path, DEVICE))
    ours = modules.ensure("$edgeAgent")
    reconcile(modules, frozenset({"kept", "dropped"}), None)
    kept = modules.get("kept")
    reconcile(modules, frozenset({"kept", "new"}), frozenset({"kept", "dropped"}))
    assert [module.module_id for module in modules.all()] == ["$edgeAgent", "kept", "new"]
    assert (modules.get("$edgeAgent"), modules.get("kept")) == (ours, kept)


def test_reconciling_without_a_memory_goes_by_who_made_a_module(tmp_path: Path) -> None:
    """A device of an earlier version has no record of its last time."""
    modules = LocalModules(ModuleStore(tmp_path, DEVICE))
    modules.ensure("$edgeAgent")
    kept = modules.ensure("kept", "identityd")
    modules.ensure("dropped", "identityd")
    reconcile(modules, frozenset({"kept"}), None)
    assert [module.module_id for module in modules.all()] == ["$edgeAgent", "kept"]
    assert modules.get("kept") == kept


@pytest.mark.parametrize(
    ("days", "renewed"),
    [
        pytest.param(0, False, id="fresh"),
        pytest.param(98, False, id="before its end"),
        pytest.param(400, True, id="long expired"),
        pytest.param(-2, True, id="clock set back"),
    ],
)
def test_the_device_certificate_is_kept_in_force(
    services: Services, days: int, renewed: bool
) -> None:
    """One that is not valid now is issued again at once; renewing in time is a job's."""
    certs = CertsClient(services.socket("certd"))
    clock = MovableClock(datetime.now(UTC) + timedelta(hours=1))
    device = device_certificate(services, clock)
    device.present()
    before = certs.get("device-id")
    clock.time += timedelta(days=days)
    device.present()
    after = certs.get("device-id")
    assert (after != before) == renewed
    first, second = (x509.load_chain(pem)[0].public_key() for pem in (before, after))
    assert first == second


def test_a_certificate_for_another_key_is_replaced(services: Services) -> None:
    """After keyd lost its keys the device gets a certificate for the new one."""
    keys, certs = KeysClient(services.socket("keyd")), CertsClient(services.socket("certd"))
    clock = MovableClock(datetime.now(UTC) + timedelta(hours=1))
    device = device_certificate(services, clock)
    keys.delete_key_pair(device.present().handle)
    before = x509.load_chain(certs.get("device-id"))[0]
    device.present()
    assert x509.load_chain(certs.get("device-id"))[0].public_key() != before.public_key()


def test_a_failing_certd_is_no_missing_certificate(services: Services) -> None:
    """An internal error of certd is passed on, and the certificate is not replaced."""
    clock = MovableClock(datetime.now(UTC))
    device = device_certificate(services, clock)
    device.present()
    stored = next((services.folder / "certd" / "state" / "certs").glob("deviceid-*.cer"))
    stored.write_bytes(b"broken")
    with pytest.raises(ApiError, match="internal error"):
        device.present()
    assert stored.read_bytes() == b"broken"
