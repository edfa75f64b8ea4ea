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
from skerry.identity.device import DeviceIdentity
from skerry.identity.model import Principal, Settings
from skerry.identity.modules import Modules
from skerry.identity.store import ModuleStore
from skerry.keys.client import KeysClient

SETTINGS = Settings("pump", "pump-7", None, (), 10)
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


def module_named(name: str) -> Principal:
    """Return a host process that is a module."""
    return Principal(1000, name, ("module",))


def test_reconciling_keeps_makes_and_removes(tmp_path: Path) -> None:
    """What the settings still name keeps its generation; modules of others are left alone."""
    modules = Modules(ModuleStore(tmp_path, SETTINGS), KeysClient(tmp_path / "none.sock"))
    ours = modules.ensure("$edgeAgent")
    modules.reconcile([module_named("kept"), module_named("dropped")])
    kept = modules.get("kept")
    modules.reconcile([module_named("kept"), module_named("new"), Principal(1, "daemon", None)])
    assert [module.module_id for module in modules.all()] == ["$edgeAgent", "kept", "new"]
    assert (modules.get("$edgeAgent"), modules.get("kept")) == (ours, kept)


@pytest.mark.parametrize(
    ("days", "renewed"),
    [
        pytest.param(0, False, id="fresh"),
        pytest.param(79, False, id="before four fifths"),
        pytest.param(81, True, id="after four fifths"),
        pytest.param(400, True, id="long expired"),
        pytest.param(-2, True, id="clock set back"),
    ],
)
def test_the_device_certificate_is_kept_in_force(
    services: Services, days: int, renewed: bool
) -> None:
    """It is issued again when it is due, for the same key; certd's clock stays the machine's."""
    certs = CertsClient(services.socket("certd"))
    clock = MovableClock(datetime.now(UTC) + timedelta(hours=1))
    device = DeviceIdentity(
        SETTINGS, KeysClient(services.socket("keyd")), certs, clock, get_logger("identityd")
    )
    device.key_handle()
    before = certs.get("device-id")
    clock.time += timedelta(days=days)
    device.key_handle()
    after = certs.get("device-id")
    assert (after != before) == renewed
    first, second = (x509.load_chain(pem)[0].public_key() for pem in (before, after))
    assert first == second


def test_a_certificate_for_another_key_is_replaced(services: Services) -> None:
    """After keyd lost its keys the device gets a certificate for the new one."""
    keys, certs = KeysClient(services.socket("keyd")), CertsClient(services.socket("certd"))
    clock = MovableClock(datetime.now(UTC) + timedelta(hours=1))
    device = DeviceIdentity(SETTINGS, keys, certs, clock, get_logger("identityd"))
    keys.delete_key_pair(device.key_handle())
    before = x509.load_chain(certs.get("device-id"))[0]
    device.key_handle()
    assert x509.load_chain(certs.get("device-id"))[0].public_key() != before.public_key()


def test_a_failing_certd_is_no_missing_certificate(services: Services) -> None:
    """An internal error of certd is passed on, and the certificate is not replaced."""
    certs = CertsClient(services.socket("certd"))
    clock = MovableClock(datetime.now(UTC))
    device = DeviceIdentity(
        SETTINGS, KeysClient(services.socket("keyd")), certs, clock, get_logger("identityd")
    )
    device.key_handle()
    stored = next((services.folder / "certd" / "state" / "certs").glob("deviceid-*.cer"))
    stored.write_bytes(b"broken")
    with pytest.raises(ApiError, match="internal error"):
        device.key_handle()
    assert stored.read_bytes() == b"broken"
