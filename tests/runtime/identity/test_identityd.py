"""identityd over its real socket, with real keyd and certd behind it: a standalone device."""

import hmac
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.services import Services
from skerry.base.client import ApiError, ServiceClient
from skerry.base.errors import SettingsError
from skerry.base.log import get_logger
from skerry.certs import x509
from skerry.certs.client import CertsClient
from skerry.certs.remote_key import remote_key
from skerry.identity.client import IdentityClient
from skerry.identity.errors import ParameterError, RecordError
from skerry.identity.model import Auth, Device, Module, check_module_id
from skerry.identity.settings import Standalone, parse_settings
from skerry.identity.store import DeviceStore, ModuleStore
from skerry.keys.client import KeysClient

UID = os.getuid()
IDENTITYD = f"""
hostname = "pump"
[provisioning]
source = "standalone"
device_id = "pump-7"
[[principal]]
uid = {UID}
name = "aziot-edge"
"""
DEVICE = Device("pump", "pump", "pump-7", Auth.X509)


def configured(folder: Path) -> Services:
    """Return the three services of a standalone device, not yet started."""
    running = Services(folder)
    running.configure("keyd", f'[[principal]]\nuid = {UID}\nkeys = ["*"]\n')
    running.configure(
        "certd",
        f'[cert_issuance.device-id]\nmethod = "self_signed"\nexpiry_days = 365\n'
        f'[[principal]]\nuid = {UID}\ncerts = ["*"]\n',
    )
    running.configure("identityd", IDENTITYD)
    return running


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """One standalone device for the tests of this file."""
    running = configured(tmp_path_factory.mktemp("identityd"))
    for name in ("keyd", "certd", "identityd"):
        running.host(name)
    yield running
    running.stop()


@pytest.fixture
def client(services: Services) -> IdentityClient:
    """A client of that identityd."""
    return IdentityClient(services.socket("identityd"))


def test_a_standalone_device_makes_its_identity(services: Services, client: IdentityClient) -> None:
    """The hub is the host name; the certificate is for the device id and its key is in keyd."""
    device = client.device()
    assert (device.hub_name, device.gateway_host, device.device_id) == ("pump", "pump", "pump-7")
    assert device.auth_type == "x509"
    leaf = x509.load_chain(CertsClient(services.socket("certd")).get("device-id"))[0]
    assert leaf.subject.rfc4514_string() == "CN=pump-7"
    assert device.key_handle is not None
    key = remote_key(KeysClient(services.socket("keyd")), device.key_handle)
    assert leaf.public_key() == key.public_key()


def test_the_identity_is_kept(services: Services, client: IdentityClient) -> None:
    """Asking again, or reprovisioning, changes nothing: the certificate is the same."""
    client.device()
    certs = CertsClient(services.socket("certd"))
    before = certs.get("device-id")
    client.device()
    client.reprovision()
    assert certs.get("device-id") == before


def test_module_keys_derive_from_master_and_generation(
    services: Services, client: IdentityClient
) -> None:
    """The SAS key is HMAC(master, "<module>:<generation>:primary"), as upstream derives it."""
    keys = KeysClient(services.socket("keyd"))
    keys.create_key("aziot_identityd_master_id", b"master")
    module = client.create_module("$edgeAgent")
    expected = hmac.digest(
        b"master", f"$edgeAgent:{module.generation_id}:primary".encode(), "sha256"
    )
    assert module.key_handle is not None
    assert keys.sign_hmac(module.key_handle, b"m") == hmac.digest(expected, b"m", "sha256")


def test_modules_are_made_once(client: IdentityClient) -> None:
    """Creating or updating twice gives the same generation."""
    first = client.create_module("twice")
    assert client.create_module("twice").generation_id == first.generation_id
    assert client.update_module("twice").generation_id == first.generation_id
    assert client.module("twice").generation_id == first.generation_id


def test_a_module_made_anew_has_other_keys(client: IdentityClient) -> None:
    """After a deletion the same id gets a new generation."""
    first = client.create_module("renewed")
    client.delete_module("renewed")
    client.delete_module("renewed")
    with pytest.raises(ApiError, match="there is no module identity 'renewed'") as caught:
        client.module("renewed")
    assert caught.value.status == 400
    assert client.create_module("renewed").generation_id != first.generation_id


def test_the_list_has_no_keys(client: IdentityClient) -> None:
    """Listing names every module, without authentication."""
    client.create_module("b-listed")
    client.create_module("a-listed")
    listed = [entry for entry in client.modules() if (entry.module_id or "").endswith("-listed")]
    assert [entry.module_id for entry in listed] == ["a-listed", "b-listed"]
    assert all(entry.key_handle is None for entry in listed)


def test_the_provisioning_is_told(services: Services) -> None:
    """The route exists from 2021-12-01 on."""
    path = services.socket("identityd")
    assert ServiceClient(path, "2021-12-01").get("/identities/provisioning") == {
        "source": "standalone",
        "auth": "x509",
        "hubName": "pump",
        "deviceId": "pump-7",
    }
    with pytest.raises(ApiError, match="not found"):
        ServiceClient(path, "2020-09-01").get("/identities/provisioning")
    assert ServiceClient(path, "2020-09-01").get("/trust-bundle") == {"certificate": ""}


def test_a_daemon_is_the_device(services: Services) -> None:
    """A principal without `idtype` is given the device's identity as its own."""
    answer = ServiceClient(services.socket("identityd"), "2022-08-01").get("/identities/identity")
    assert isinstance(answer, dict)
    assert answer["spec"]["deviceId"] == "pump-7"


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        pytest.param("post", "/identities/device", {"type": "local"}, "'local'", id="local"),
        pytest.param("post", "/identities/device", {}, "type None is not known", id="no type"),
        pytest.param(
            "post", "/identities/modules", {"type": "aziot", "moduleId": "a/b"},
            "module id 'a/b' is not usable", id="module id",
        ),
        pytest.param("get", "/identities/modules", None, "type None", id="no type in query"),
    ],
)  # fmt: skip
def test_wrong_requests_are_told_why(
    services: Services, method: str, path: str, body: object, message: str
) -> None:
    """Mistakes are 400 and name the value."""
    client = ServiceClient(services.socket("identityd"), "2022-08-01")
    arguments = (path,) if body is None else (path, body)
    with pytest.raises(ApiError, match=message) as caught:
        getattr(client, method)(*arguments)
    assert caught.value.status == 400


def test_everything_outlives_a_kill(tmp_path: Path) -> None:
    """After kill -9 of all three the device and its modules are the same."""
    running = configured(tmp_path)
    try:
        for name in ("keyd", "certd", "identityd"):
            running.start(name)
        client = IdentityClient(running.socket("identityd"))
        client.device()
        certificate = CertsClient(running.socket("certd")).get("device-id")
        module = client.create_module("kept")
        for name in ("identityd", "certd", "keyd"):
            running.kill(name)
            running.start(name)
        client.device()
        assert CertsClient(running.socket("certd")).get("device-id") == certificate
        assert client.module("kept").generation_id == module.generation_id
    finally:
        running.stop()


def test_identityd_waits_for_its_peers_request_by_request(tmp_path: Path) -> None:
    """Without keyd a request fails and says why, and the service goes on; with keyd it succeeds."""
    running = configured(tmp_path)
    try:
        running.start("identityd")
        client = IdentityClient(running.socket("identityd"))
        with pytest.raises(
            ApiError, match=r"certificate of this device cannot be had: no answer on .*certd.sock"
        ):
            client.device()
        running.start("keyd")
        running.start("certd")
        assert client.device().device_id == "pump-7"
    finally:
        running.stop()


def test_an_unknown_source_stops_the_start(tmp_path: Path) -> None:
    """The exit status is 153 and the message names the value."""
    running = Services(tmp_path)
    running.configure("identityd", 'hostname = "x"\n[provisioning]\nsource = "cloud"\n')
    process = running.spawn("identityd")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 153
    assert "provisioning.source is 'cloud', expected 'standalone', 'manual', 'dps'" in said


def test_host_processes_get_the_modules_that_name_them(tmp_path: Path) -> None:
    """A principal with idtype module has an identity; without the principal it is removed."""
    running = configured(tmp_path)
    ours = f'[[principal]]\nuid = {UID + 1}\nname = "reader"\nidtype = ["module"]\n'
    try:
        running.configure("identityd", IDENTITYD + ours)
        running.start("identityd")
        client = IdentityClient(running.socket("identityd"))
        assert [entry.module_id for entry in client.modules()] == ["reader"]
        running.kill("identityd")
        running.configure("identityd", IDENTITYD)
        running.start("identityd")
        assert client.modules() == []
    finally:
        running.stop()


def test_modules_of_another_identity_are_not_ours(tmp_path: Path) -> None:
    """A device that changes hub or name starts without modules and keeps the old ones apart."""
    ModuleStore(tmp_path, DEVICE).put(Module("m", "g", "iotedge"))
    other = ModuleStore(tmp_path, Device("other", "other", "pump-7", Auth.X509))
    assert other.all() == []
    assert ModuleStore(tmp_path, DEVICE).all() == [Module("m", "g", "iotedge")]


def test_the_device_is_kept_for_its_settings(tmp_path: Path) -> None:
    """A device that was provisioned by other settings is not this one."""
    store = DeviceStore(tmp_path, get_logger("identityd"))
    store.put(DEVICE, "these")
    assert (store.find("these"), store.find("others")) == (DEVICE, None)
    info = json.loads((tmp_path / "device_info.json").read_bytes())
    assert info["hub_name"] == "pump"
    assert info["device_id"] == "pump-7"


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"\xff", b'{"settings": "these"}', b"[" * 9999, b"x" * 20_000]
)
def test_a_broken_record_of_the_device_is_none(tmp_path: Path, content: bytes) -> None:
    """The device is provisioned again instead of standing still."""
    store = DeviceStore(tmp_path, get_logger("identityd"))
    (tmp_path / "device_info.json").write_bytes(content)
    (tmp_path / "prev_state.json").write_bytes(content)
    assert (store.find("these"), store.reconciled()) == (None, None)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"x" * 20_000])
def test_a_broken_record_is_named(tmp_path: Path, content: bytes) -> None:
    """The message gives the path and the way out."""
    store = ModuleStore(tmp_path, DEVICE)
    store.put(Module("m", "g", "iotedge"))
    next(tmp_path.glob("modules/*/m-*")).write_bytes(content)
    with pytest.raises(RecordError, match="remove it to make a new identity"):
        store.get("m")


@pytest.mark.parametrize("module_id", ["$edgeAgent", "a-b_c.d", "x" * 128])
def test_usable_module_ids(module_id: str) -> None:
    """What IoT Hub allows."""
    assert check_module_id(module_id) == module_id


@pytest.mark.parametrize("module_id", ["", "a b", "x" * 129, "ä", "../etc"])
def test_unusable_module_ids(module_id: str) -> None:
    """What IoT Hub does not allow is refused before it reaches a path."""
    with pytest.raises(ParameterError, match="is not usable"):
        check_module_id(module_id)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"hostname": ""}, "hostname is ''", id="host name"),
        pytest.param({"provisioning": None}, "provisioning.* is missing", id="provisioning"),
        pytest.param(
            {"provisioning": {"source": "standalone", "device_id": "a b"}}, "device_id", id="device"
        ),
        pytest.param(
            {"provisioning": {"source": "standalone", "iothub_hostname": 1}}, "iothub", id="hub"
        ),
        pytest.param(
            {"provisioning": {"source": "standalone", "local_gateway_hostname": 1}},
            "local_gateway_hostname",
            id="parent",
        ),
        pytest.param({"max_requests": -1}, "max_requests is -1", id="limit"),
        pytest.param({"principal": 1}, "expected an array", id="principals"),
        pytest.param(
            {"principal": [{"uid": 1, "name": "x", "idtype": ["x"]}]}, "idtype", id="kind"
        ),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], message: str) -> None:
    """Settings that cannot be used stop the service before it serves."""
    good: dict[str, object] = {"hostname": "x", "provisioning": {"source": "standalone"}}
    source = parse_settings(good).source
    assert isinstance(source, Standalone)
    assert source.device_id == "x"
    with pytest.raises(SettingsError, match=message):
        parse_settings({**good, **changes})
