"""The workload API of a running edged, with real keyd, certd and identityd behind it."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from fakes.docker_engine import DockerEngine, FakeContainer
from harness.edged import VERSION, House
from skerry.base.client import ApiError
from skerry.hub.scope import Proof, read_local
from skerry.identity.client import Identity as IotIdentity
from skerry.identity.client import IdentityClient
from skerry.keys.client import KeysClient
from skerry.module.workload import WorkloadClient
from skerry.wire.identity import Identity
from skerry.workloads.local_scope import LocalScope, ScopeError

IMAGE = "localhost/test/pump:1"
IV = base64.b64encode(b"twelve bytes").decode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def peopled(shared: tuple[House, DockerEngine]) -> tuple[House, DockerEngine]:
    """The shared house with the modules `pump` and `valve`."""
    house, engine = shared
    engine.images[IMAGE] = "sha256:" + "b" * 64
    house.caller = engine.containers["edgeAgent"].id
    agent = house.client()
    for name in ("pump", "valve"):
        agent.post("/identities", {"moduleId": name})
        settings = {"image": IMAGE, "createOptions": {}}
        agent.post("/modules", {"name": name, "type": "docker", "config": {"settings": settings}})
    return house, engine


@pytest.fixture
def containers(peopled: tuple[House, DockerEngine]) -> dict[str, FakeContainer]:
    """The containers by name."""
    return peopled[1].containers


@pytest.fixture
def pump(peopled: tuple[House, DockerEngine]) -> House:
    """The house, called by the container of the module `pump`."""
    house, engine = peopled
    house.caller = engine.containers["pump"].id
    return house


def test_a_signature_is_that_of_the_modules_key(pump: House) -> None:
    """sign gives HMAC-SHA256 under the key that identityd derived for the module."""
    client = pump.client("pump/workload.sock")
    body = {"keyId": "primary", "algo": "HMACSHA256", "data": b64(b"house/modules/pump\n1")}
    answer: Any = client.post("/modules/pump/genid/1/sign", body)
    handle = IdentityClient(pump.services.socket("identityd")).module("pump").key_handle
    assert handle is not None
    key = KeysClient(pump.services.socket("keyd")).export_derived(handle)
    expected = hmac.new(key, b"house/modules/pump\n1", hashlib.sha256).digest()
    assert base64.b64decode(answer["digest"]) == expected


def test_a_new_generation_signs_with_a_new_key(
    pump: House, containers: dict[str, FakeContainer]
) -> None:
    """After its identity was removed and made again a module's signature is another."""
    client = pump.client("pump/workload.sock")
    path, body = "/modules/pump/genid/1/sign", {"data": b64(b"text")}
    before = client.post(path, body)
    pump.caller = containers["edgeAgent"].id
    pump.client().delete("/identities/pump")
    pump.client().post("/identities", {"moduleId": "pump"})
    pump.caller = containers["pump"].id
    assert client.post(path, body) != before


def test_what_a_module_encrypts_it_alone_can_read(
    pump: House, containers: dict[str, FakeContainer]
) -> None:
    """Round trip for the module; 400 for another generation and for another module."""
    client = pump.client("pump/workload.sock")
    plain = {"plaintext": b64(b"secret"), "initializationVector": IV}
    sealed: Any = client.post("/modules/pump/genid/7/encrypt", plain)
    body = {"ciphertext": sealed["ciphertext"], "initializationVector": IV}
    assert client.post("/modules/pump/genid/7/decrypt", body) == {"plaintext": b64(b"secret")}
    with pytest.raises(ApiError) as other_generation:
        client.post("/modules/pump/genid/8/decrypt", body)
    pump.caller = containers["valve"].id
    with pytest.raises(ApiError) as other_module:
        pump.client("valve/workload.sock").post("/modules/valve/genid/7/decrypt", body)
    assert (other_generation.value.status, other_module.value.status) == (400, 400)


def test_the_key_of_a_modules_documents(pump: House) -> None:
    """As the hub keeps its own: 32 bytes and an IV of 16, by the client that it uses."""
    path = pump.state / "mnt" / "pump/workload.sock"
    client = WorkloadClient(path, VERSION, "pump", "7")
    iv, key = bytes(range(16)), bytes(range(32))
    sealed = client.encrypt(iv, key)
    assert key not in sealed
    assert client.decrypt(iv, sealed) == key
    with pytest.raises(ApiError) as refused:
        client.decrypt(iv, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert refused.value.status == 400


def test_a_server_certificate_leads_to_the_trust_bundle(pump: House) -> None:
    """RSA key, both names, server purpose, signed by the edge CA that the bundle holds."""
    client = pump.client("pump/workload.sock")
    asked = {"commonName": "pump.local", "expiration": "2027-01-01T00:00:00Z"}
    answer: Any = client.post("/modules/pump/genid/1/certificate/server", asked)
    leaf, issuer = x509.load_pem_x509_certificates(answer["certificate"].encode())[:2]
    key = serialization.load_pem_private_key(answer["privateKey"]["bytes"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.public_key() == leaf.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pump.local", "pump"]
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    leaf.verify_directly_issued_by(issuer)
    bundle: Any = client.get("/trust-bundle")
    assert issuer in x509.load_pem_x509_certificates(bundle["certificate"].encode())
    assert answer["expiration"].endswith("Z")


def test_an_identity_certificate_says_which_module_it_is(pump: House) -> None:
    """CN is the module, the alternative name carries hub, device and module."""
    answer: Any = pump.client("pump/workload.sock").post("/modules/pump/certificate/identity")
    leaf = x509.load_pem_x509_certificates(answer["certificate"].encode())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert leaf.subject.rfc4514_string() == "CN=pump"
    assert names.get_values_for_type(x509.DNSName) == [
        "URI: azureiot://house/devices/house/modules/pump"
    ]


FOREIGN = (
    "/modules/valve/genid/1/sign",
    "/modules/valve/genid/1/encrypt",
    "/modules/valve/genid/1/decrypt",
    "/modules/valve/genid/1/certificate/server",
    "/modules/valve/certificate/identity",
    "/modules/%24edgeAgent/genid/1/sign",
)


def test_no_module_is_another(pump: House) -> None:
    """A module is refused everything in another's name, on its own socket and the shared one."""
    for socket in ("pump/workload.sock", "workload"):
        for path in FOREIGN:
            with pytest.raises(ApiError, match="forbidden") as refused:
                pump.client(socket).post(path, {"data": b64(b"text")})
            assert (path, refused.value.status) == (path, 403)


def test_a_socket_serves_its_own_module_only(pump: House) -> None:
    """The right caller on another module's socket is refused; the shared socket serves it."""
    body = {"data": b64(b"text")}
    with pytest.raises(ApiError, match="forbidden"):
        pump.client("valve/workload.sock").post("/modules/pump/genid/1/sign", body)
    assert pump.client("workload").post("/modules/pump/genid/1/sign", body) is not None


def test_a_process_of_the_host_is_no_module(pump: House) -> None:
    """Not even root may sign as a module; the list and the trust bundle are for all."""
    pump.caller = None
    client = pump.client("workload")
    with pytest.raises(ApiError, match="forbidden"):
        client.post("/modules/pump/genid/1/sign", {"data": b64(b"text")})
    assert client.get("/modules") is not None
    assert client.get("/trust-bundle") is not None
    assert client.get("/manifest-trust-bundle") == {"certificate": ""}


def test_the_scope_of_a_device_without_a_cloud_is_the_hubs(
    peopled: tuple[House, DockerEngine],
) -> None:
    """Modules with the keys that they sign with, leaf devices as config.toml has them."""
    house, engine = peopled
    leaves = {
        "by-key": {"authentication": {"type": "sas", "primaryKey": b64(b"k" * 32)}},
        "by-print": {"authentication": {"type": "x509_thumbprint", "primaryThumbprint": "AB"}},
        "by-name": {"authentication": {"type": "x509_ca"}},
    }
    current = house.folder / "edged" / "current"
    current.mkdir(exist_ok=True)
    (current / "leaf_devices.json").write_text(json.dumps(leaves))
    engine.images[IMAGE] = "sha256:" + "b" * 64
    house.caller = engine.containers["edgeAgent"].id
    agent = house.client()
    agent.post("/identities", {"moduleId": "$edgeHub"})
    settings = {"image": IMAGE, "createOptions": {}}
    hub = {"name": "edgeHub", "type": "docker", "config": {"settings": settings}}
    agent.post("/modules", hub)
    house.caller = engine.containers["edgeHub"].id
    path = "/modules/%24edgeHub/scope"
    try:
        found = read_local(house.client("edgeHub/workload.sock").get(path))
        with pytest.raises(ApiError) as caught:
            house.client("pump/workload.sock").get(path)
        assert caught.value.status == 403
    finally:
        house.caller = engine.containers["edgeAgent"].id
        agent.delete("/modules/edgeHub")
        agent.delete("/identities/%24edgeHub")
        (current / "leaf_devices.json").unlink()
    handle = IdentityClient(house.services.socket("identityd")).module("pump").key_handle
    assert handle is not None
    pump = found.clients[Identity("house", "pump")]
    assert pump.keys == (KeysClient(house.services.socket("keyd")).export_derived(handle),)
    assert found.clients[Identity("by-key")].keys == (b"k" * 32,)
    assert found.clients[Identity("by-print")].thumbprints == ("AB",)
    assert found.clients[Identity("by-name")].proof is Proof.AUTHORITY
    assert not found.clients[Identity("house")].keys


def test_leaf_devices_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """A damaged file is no empty list of devices."""
    (tmp_path / "leaf_devices.json").write_text("[")

    class Alone:
        def provisioning(self) -> dict[str, object]:
            return {"source": "standalone"}

        def device(self) -> IotIdentity:
            return IotIdentity("h", "h", "d", None, None, None, None)

    identities = cast("IdentityClient", Alone())
    scope = LocalScope(identities, cast("KeysClient", None), tmp_path / "leaf_devices.json")
    with pytest.raises(ScopeError, match=r"leaf_devices\.json cannot be used"):
        scope.document()


def test_the_deployment_on_the_workload_socket_is_the_hubs(pump: House) -> None:
    """Another module is refused, and asking for one's own finds none."""
    with pytest.raises(ApiError) as own:
        pump.client("pump/workload.sock").get("/modules/pump/deployment")
    with pytest.raises(ApiError) as hubs:
        pump.client("pump/workload.sock").get("/modules/%24edgeHub/deployment")
    assert (own.value.status, hubs.value.status) == (404, 403)


def test_data_that_is_not_base64_is_refused(pump: House) -> None:
    """400 that names the field, as upstream answers."""
    with pytest.raises(ApiError, match="data is not base64") as refused:
        pump.client("workload").post("/modules/pump/genid/1/sign", {"data": "not base64!"})
    assert refused.value.status == 400


def test_without_the_security_services_the_answer_says_who_is_missing(
    house: House, engine: DockerEngine
) -> None:
    """503 with the socket that does not answer."""
    house.caller = engine.containers["edgeAgent"].id
    house.services.stop()
    house.services.hosted.clear()
    with pytest.raises(ApiError, match=r"identityd\.sock") as refused:
        house.client("workload").post("/modules/%24edgeAgent/genid/1/sign", {"data": b64(b"text")})
    assert refused.value.status == 503
