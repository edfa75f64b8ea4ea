"""A device with a hub: every source and attestation, against a real DPS and registry over TLS."""

import base64
import json
import shutil
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.cloud_device import (
    KEY,
    RENEWED,
    SAS,
    SYMMETRIC,
    X509,
    CloudDevice,
    b64,
    cloud_device,
)
from harness.kill_points import kill_at_every_write
from harness.lab import signed
from skerry.base.client import ApiError, ServiceClient
from skerry.base.clock import SystemClock
from skerry.base.log import get_logger
from skerry.certs import x509
from skerry.certs.remote_key import remote_key
from skerry.identity.certificate import DeviceCertificate
from skerry.identity.model import Auth, Device, Module
from skerry.identity.proof import X509Proof
from skerry.identity.provisioner import Provisioner
from skerry.identity.renewal import DeviceRenewal
from skerry.identity.settings import Dps, parse_settings
from skerry.identity.store import DeviceStore
from skerry.provisioning.cloud import Cloud, Reach
from skerry.provisioning.errors import RefusedError
from skerry_lab.dps.model import Attestation, Enrollment, Reprovision
from skerry_lab.dps.service import DpsSettings
from skerry_lab.registry.model import Status
from skerry_lab.server import LabSettings


@pytest.fixture
def device(tmp_path: Path) -> Iterator[CloudDevice]:
    with cloud_device(tmp_path) as made:
        yield made


def record(device: CloudDevice) -> dict[str, object]:
    """Return what the device kept of itself."""
    path = device.services.folder / "identityd" / "state" / "device_info.json"
    found: dict[str, object] = json.loads(path.read_bytes())
    return found


def test_a_symmetric_key_provisions_through_dps(device: CloudDevice) -> None:
    """The device is who DPS says, and signs with the key that it was enrolled with."""
    device.enrol()
    found = device.start(device.dps(SYMMETRIC)).device()
    assert (found.hub_name, found.device_id) == (device.lab.hub_name, "pump-7")
    assert (found.gateway_host, found.auth_type) == (device.lab.hub_name, "sas")
    assert found.key_handle is not None
    assert device.keys.sign_hmac(found.key_handle, b"x")


def test_a_device_of_a_group_has_a_derived_key(device: CloudDevice) -> None:
    """The group's key is not on the device."""
    device.enrol_group("pump-7")
    assert device.start(device.dps(SYMMETRIC)).device().device_id == "pump-7"


def test_a_certificate_provisions_through_dps(device: CloudDevice) -> None:
    """The certificate is made here, its key stays in keyd, and TLS shows it."""
    identity = device.start(device.dps(X509))
    with pytest.raises(ApiError, match="answered 401"):
        identity.device()
    pem = device.certs.get("device-id").decode()
    device.lab.add_enrollment(
        Enrollment("pump-7", Attestation.X509, certificates=(pem,), group=False)
    )
    found = identity.device()
    assert (found.device_id, found.auth_type) == ("pump-7", "x509")
    assert found.key_handle is not None
    leaf = x509.load_chain(pem.encode())[0]
    assert remote_key(device.keys, found.key_handle).public_key() == leaf.public_key()
    assert identity.create_module("reader").generation_id


def test_a_connection_string_needs_no_dps(device: CloudDevice) -> None:
    """Hub and device are named by hand, and proven by asking the hub."""
    key = device.lab.registry.create_device("pump-7").authentication.primary_key
    device.keys.create_key("device-id", base64.b64decode(key))
    found = device.start(device.manual(SAS)).device()
    assert (found.hub_name, found.device_id) == (device.lab.hub_name, "pump-7")


def test_a_wrong_key_is_told_and_nothing_is_kept(device: CloudDevice) -> None:
    """The hub's no is passed on; there is no identity until it is right."""
    device.lab.registry.create_device("pump-7")
    device.keys.create_key("device-id", b"another key of thirty-two bytes!")
    identity = device.start(device.manual(SAS))
    with pytest.raises(ApiError, match="answered 401") as caught:
        identity.device()
    assert caught.value.status == 404
    assert not (device.services.folder / "identityd/state/device_info.json").exists()


def test_modules_have_our_keys_at_the_hub(device: CloudDevice) -> None:
    """The hub's keys are those that keyd derives, also of a module that the hub made itself."""
    device.enrol()
    identity = device.start(device.dps(SYMMETRIC))
    for name in ("sensor", "$edgeAgent"):
        made = identity.create_module(name)
        assert made.key_handle is not None
        (at_hub,) = [m for m in device.lab.registry.modules("pump-7") if m.module_id == name]
        assert at_hub.generation_id == made.generation_id
        derived = device.keys.export_derived(made.key_handle)
        assert at_hub.authentication.primary_key == b64(derived)
        assert identity.create_module(name).generation_id == made.generation_id


def test_a_module_removed_at_the_hub_is_gone(device: CloudDevice) -> None:
    """What the hub says counts; a new module of that name has other keys."""
    device.enrol()
    identity = device.start(device.dps(SYMMETRIC))
    first = identity.create_module("sensor")
    identity.delete_module("sensor")
    left = [module.module_id for module in device.lab.registry.modules("pump-7")]
    assert left == ["$edgeAgent", "$edgeHub"]
    with pytest.raises(ApiError, match="no module identity 'sensor'"):
        identity.module("sensor")
    assert identity.create_module("sensor").generation_id != first.generation_id


def test_offline_the_backup_answers(device: CloudDevice) -> None:
    """After a start without network device and modules are what they were."""
    device.enrol()
    identity = device.start(device.dps(SYMMETRIC))
    before = identity.device()
    module = identity.create_module("sensor")
    device.lab.stop()
    try:
        device.restart()
        identity = device.identity
        after = identity.device()
        assert (after.hub_name, after.device_id) == (before.hub_name, before.device_id)
        assert identity.module("sensor").generation_id == module.generation_id
        assert [entry.module_id for entry in identity.modules()] == ["sensor"]
        assert identity.update_module("sensor").generation_id == module.generation_id
        with pytest.raises(ApiError, match="cannot be reached"):
            identity.create_module("new")
        with pytest.raises(ApiError, match="cannot be reached"):
            identity.delete_module("sensor")
        with pytest.raises(ApiError, match="cannot be reached"):
            identity.reprovision()
        assert identity.device().device_id == "pump-7"
    finally:
        device.lab.start()


def test_offline_from_the_start_says_so(device: CloudDevice) -> None:
    """A device that never was provisioned waits, and serves as soon as DPS is there."""
    device.enrol()
    endpoint = device.dps(SYMMETRIC)
    device.lab.stop()
    try:
        identity = device.start(endpoint)
        with pytest.raises(ApiError, match="cannot be reached") as caught:
            identity.device()
        assert caught.value.status == 404
    finally:
        device.lab.start()
    device.start(device.dps(SYMMETRIC))
    assert device.identity.device().device_id == "pump-7"


def test_the_cache_may_be_preferred(device: CloudDevice) -> None:
    """With prefer_module_identity_cache the hub is not asked for a module that is known."""
    device.enrol()
    identity = device.start(device.dps(SYMMETRIC), "prefer_module_identity_cache = true\n")
    module = identity.create_module("sensor")
    device.lab.store.do(lambda cloud: cloud.registry.delete_device("pump-7"))
    assert identity.module("sensor").generation_id == module.generation_id
    assert identity.update_module("sensor").generation_id == module.generation_id


def test_provisioning_again_moves_the_device(device: CloudDevice) -> None:
    """A device that was removed at its hub is assigned anew and has modules of its own again."""
    device.enrol(reprovision=Reprovision.RESET)
    identity = device.start(device.dps(SYMMETRIC))
    before = identity.create_module("sensor")
    device.lab.registry.delete_device("pump-7")
    identity.reprovision()
    assert identity.create_module("sensor").generation_id != before.generation_id


def test_a_failed_provisioning_keeps_the_old_identity(device: CloudDevice) -> None:
    """A disabled enrolment is told by name; the device goes on as what it was."""
    device.enrol()
    identity = device.start(device.dps(SYMMETRIC))
    identity.device()
    kept = record(device)
    device.lab.add_enrollment(
        Enrollment(
            "pump-7", Attestation.SYMMETRIC_KEY, primary_key=b64(KEY), secondary_key=b64(KEY),
            group=False, enabled=False,
        )
    )  # fmt: skip
    with pytest.raises(ApiError, match="disabled; enable it at DPS"):
        identity.reprovision()
    assert identity.device().device_id == "pump-7"
    assert record(device) == kept


def test_other_settings_provision_anew(device: CloudDevice) -> None:
    """What was provisioned counts for the settings that led to it, and for no others."""
    device.enrol()
    device.start(device.dps(SYMMETRIC)).device()
    device.lab.registry.create_device("by-hand")
    device.lab.registry.update_device(
        replace(
            device.lab.registry.device("by-hand"),
            authentication=device.lab.registry.device("pump-7").authentication,
        )
    )
    found = device.start(device.manual(SAS, "by-hand")).device()
    assert found.device_id == "by-hand"


def test_a_disabled_device_is_refused_by_its_hub(device: CloudDevice) -> None:
    """The hub's answer to a disabled device reaches who asks for a module."""
    device.enrol()
    identity = device.start(device.dps(SYMMETRIC))
    identity.device()
    disabled = replace(device.lab.registry.device("pump-7"), status=Status.DISABLED)
    device.lab.registry.update_device(disabled)
    with pytest.raises(ApiError, match="answered 401") as caught:
        identity.create_module("sensor")
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("attestation", "message"),
    [
        (SYMMETRIC.replace('"pump-7"', '"unknown"'), "answered 40[14]"),
        (SYMMETRIC.replace('"device-id"', '"missing"'), "key of this device cannot be used"),
    ],
)
def test_what_dps_or_keyd_refuse_is_told(
    device: CloudDevice, attestation: str, message: str
) -> None:
    """An unknown registration and a missing key are named."""
    device.enrol()
    with pytest.raises(ApiError, match=message):
        device.start(device.dps(attestation)).device()


def test_the_provisioning_is_told(device: CloudDevice) -> None:
    """Source, attestation and addresses, without a secret."""
    device.enrol()
    device.start(device.dps(SYMMETRIC))
    client = ServiceClient(device.services.socket("identityd"), "2022-08-01")
    assert client.get("/identities/provisioning") == {
        "source": "dps",
        "auth": "symmetric_key",
        "endpoint": device.lab.endpoint,
        "scope_id": device.lab.id_scope,
        "registration_id": "pump-7",
        "payload": None,
    }
    device.start(device.manual(SAS))
    assert client.get("/identities/provisioning") == {"source": "manual", "auth": "sas"}
    device.start('[provisioning]\nsource = "none"\n')
    assert client.get("/identities/provisioning") == {"source": "none"}
    with pytest.raises(ApiError, match="has no hub"):
        device.identity.device()


def test_a_payload_reaches_dps(device: CloudDevice, tmp_path: Path) -> None:
    """The file is read at each registration; one that is no JSON is named."""
    device.enrol()
    path = tmp_path / "payload.json"
    provisioning = device.dps(SYMMETRIC) + f'[provisioning.payload]\nuri = "file://{path}"\n'
    identity = device.start(provisioning)
    with pytest.raises(ApiError, match=r"payload.json' cannot be used: .*No such file"):
        identity.device()
    path.write_text("{")
    with pytest.raises(ApiError, match="expected JSON"):
        identity.device()
    path.write_text('{"modelId": "dtmi:pump;1"}')
    assert identity.device().device_id == "pump-7"


def parts(device: CloudDevice) -> tuple[Provisioner, DeviceRenewal]:
    """Return provisioner and renewal of a device with X.509 and DPS, without a service around."""
    settings = parse_settings(tomllib.loads(f'hostname = "pump"\n{device.dps(X509 + RENEWED)}'))
    assert isinstance(settings.source, Dps)
    assert settings.source.proof.certificate is not None
    clock, log = SystemClock(), get_logger("identityd")
    certificate = DeviceCertificate(
        settings.source.proof.certificate, device.keys, device.certs, clock, log
    )
    reach = Reach(retries=0, roots=lambda: [device.lab.root_pem])
    provisioner = Provisioner(
        settings,
        DeviceStore(device.services.folder / "parts", log),
        device.keys,
        X509Proof(device.keys, certificate),
        Cloud(reach, clock, log, time.sleep),
        clock,
        log,
        time.sleep,
    )
    return provisioner, DeviceRenewal(certificate, provisioner)


def allow(device: CloudDevice, cert_id: str) -> str:
    """Enrol the certificate that certd has under an id."""
    pem = device.certs.get(cert_id).decode()
    device.lab.add_enrollment(
        Enrollment("pump-7", Attestation.X509, certificates=(pem,), group=False)
    )
    return pem


def test_a_renewal_that_dps_refuses_changes_nothing(device: CloudDevice) -> None:
    """The new certificate is shown to DPS first; then it and its key take the old ones' place."""
    provisioner, renewal = parts(device)
    with pytest.raises(RefusedError, match="answered 401"):
        provisioner.device()
    old = allow(device, "device-id")
    provisioner.device()
    with pytest.raises(RefusedError, match="answered 401"):
        renewal.perform()
    assert device.certs.get("device-id").decode() == old
    assert provisioner.modules().ensure("sensor").generation_id


def test_a_renewal_that_dps_accepts_is_in_use_at_once(device: CloudDevice) -> None:
    """The hub knows the device by its new certificate, and modules are made with it."""
    group = signed("plant authority", authority=True, start=datetime.now(UTC) - timedelta(days=1))
    device.lab.add_enrollment(
        Enrollment("plant", Attestation.X509, certificates=(group.pem,), group=True)
    )
    device.issue_with(group)
    provisioner, renewal = parts(device)
    provisioner.device()
    old = device.certs.get("device-id")
    due = renewal.due(None)
    assert due is not None
    assert due > datetime.now(UTC)
    renewal.perform()
    new = device.certs.get("device-id")
    first, second = (x509.load_chain(pem)[0] for pem in (old, new))
    assert first.public_key() != second.public_key()
    assert provisioner.modules().ensure("sensor").generation_id
    assert provisioner.proof()["type"] == "x509"


def test_a_pair_that_came_with_the_configuration_is_needed(device: CloudDevice) -> None:
    """Without registration id and certificate there is nothing to show; the message says what."""
    attestation = 'method = "x509"\nidentity_cert = "device-id"\nidentity_pk = "device-id"\n'
    identity = device.start(device.dps(attestation))
    with pytest.raises(ApiError, match="no certificate 'device-id' that belongs to the key"):
        identity.device()
    device.start(device.manual(X509.replace('registration_id = "pump-7"\n', "")))
    with pytest.raises(ApiError, match="answered"):
        device.identity.device()
    allow(device, "device-id")
    assert device.start(device.dps(attestation)).device().device_id == "pump-7"


def test_a_server_that_asks_for_time_is_left_alone(tmp_path: Path) -> None:
    """After 429 DPS is not asked again before its time; callers get its answer meanwhile."""
    settings = LabSettings(dps=DpsSettings(registrations_per_minute=1))
    with cloud_device(tmp_path, settings) as device:
        device.enrol()
        identity = device.start(device.dps(SYMMETRIC))
        identity.device()
        for _ in range(2):
            with pytest.raises(ApiError, match="answered 429"):
                identity.reprovision()
        device.lab.stop()
        with pytest.raises(ApiError, match="answered 429"):
            identity.reprovision()
        device.lab.start()
        assert identity.device().device_id == "pump-7"


def test_a_tpm_that_is_away_is_named(device: CloudDevice) -> None:
    """Without tpmd the device says so, by DPS's reason for asking."""
    attestation = 'method = "tpm"\nregistration_id = "pump-7"\n'
    with pytest.raises(ApiError, match=r"the TPM cannot be used: no answer on .*tpmd.sock"):
        device.start(device.dps(attestation)).device()


def test_a_root_that_is_missing_is_named(device: CloudDevice) -> None:
    """A trusted certificate that certd does not have keeps the device from asking at all."""
    device.enrol()
    device.certs.delete("lab-root")
    with pytest.raises(ApiError, match="trusted certificate 'lab-root' cannot be had"):
        device.start(device.dps(SYMMETRIC)).device()


def test_a_server_of_another_authority_is_not_told_anything(device: CloudDevice) -> None:
    """Without the lab's root its certificate is not trusted, and the message says what to do."""
    device.enrol()
    device.configure(device.dps(SYMMETRIC))
    path = device.services.folder / "identityd/config/config.toml"
    path.write_text(path.read_text().replace('["lab-root"]', "[]"))
    device.restart()
    with pytest.raises(ApiError, match=r"not trusted.*private authority"):
        device.identity.device()


def test_a_hub_that_is_away_does_not_undo_an_assignment(device: CloudDevice) -> None:
    """DPS has assigned the device; its modules come when the hub is there."""
    device.enrol()
    device.lab.store.do(lambda cloud: cloud.dps.set_hubs(["elsewhere.invalid"]))
    identity = device.start(device.dps(SYMMETRIC))
    assert identity.device().hub_name == "elsewhere.invalid"
    with pytest.raises(ApiError, match=r"elsewhere\.invalid"):
        identity.create_module("sensor")
    assert identity.modules() == []


def test_host_processes_get_their_modules_once_the_hub_is_there(device: CloudDevice) -> None:
    """What the settings name is made at the hub; what they name no longer goes."""
    device.enrol()
    reader = '[[principal]]\nuid = 1\nname = "reader"\nidtype = ["module"]\n'
    identity = device.start(device.dps(SYMMETRIC) + reader)

    def at_hub() -> list[str]:
        identity.modules()
        return [module.module_id for module in device.lab.registry.modules("pump-7")]

    assert at_hub() == ["$edgeAgent", "$edgeHub", "reader"]
    generation = identity.module("reader").generation_id
    device.restart()
    identity.modules()
    assert identity.module("reader").generation_id == generation
    device.lab.stop()
    identity = device.start(device.dps(SYMMETRIC))
    identity.modules()
    device.lab.start()
    device.start(device.dps(SYMMETRIC))
    assert at_hub() == ["$edgeAgent", "$edgeHub"]


def test_a_kill_leaves_the_old_identity_or_the_new(device: CloudDevice) -> None:
    """Every kill while the identity is written leaves the old one or the new one."""
    folder = device.services.folder / "killed"
    old = Device("old.hub", "old.hub", "old", Auth.SAS)
    new = Device("new.hub", "new.hub", "new", Auth.SAS)
    log = get_logger("identityd")

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        DeviceStore(folder, log).put(old, "s")

    def work() -> None:
        store = DeviceStore(folder, log)
        store.put(new, "s")
        store.put_reconciled(frozenset({"reader"}))
        store.modules(new).put(Module("reader", "g", "identityd"))

    def check() -> None:
        store = DeviceStore(folder, log)
        assert store.find("s") in (old, new)
        assert store.reconciled() in (None, frozenset({"reader"}))
        assert store.modules(new).all() in ([], [Module("reader", "g", "identityd")])

    kill_at_every_write(prepare, work, check)
