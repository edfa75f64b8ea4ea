"""The registry as devices and service SDKs use it.

Sources: azure-iot-edge.md §8.3, device-sdk-wire.md §4.4.
"""

import base64
import hmac
from dataclasses import replace

import pytest

from harness.lab import HUB, Got, Hosted, signed
from skerry.heads.certificates import thumbprints
from skerry.wire import sas
from skerry_lab.registry.model import Authentication, AuthType, Device, Status

VERSION = "2017-11-08-preview"
KEYS = {
    "primaryKey": base64.b64encode(b"p" * 32).decode(),
    "secondaryKey": base64.b64encode(b"s" * 32).decode(),
}


@pytest.fixture
def device(hosted: Hosted) -> Device:
    return hosted.registry.create_device("Edge1", edge=False)


def as_device(
    hosted: Hosted, device: Device, line: str, body: object = None, if_match: str | None = None
) -> Got:
    """Call as the device itself, with its primary key."""
    key = device.authentication.keys[0]
    token = hosted.token(f"{HUB}/devices/{device.device_id}", key)
    return hosted.call(line, body, token=token, version=VERSION, if_match=if_match)


def as_owner(hosted: Hosted, line: str, body: object = None, if_match: str | None = None) -> Got:
    """Call as a service with the policy iothubowner."""
    return as_policy(hosted, "iothubowner", line, body, if_match=if_match)


def as_policy(
    hosted: Hosted, name: str, line: str, body: object = None, if_match: str | None = None
) -> Got:
    policy = hosted.store.do(lambda cloud: cloud.policies.get(name))
    assert policy is not None
    token = hosted.token(HUB, policy.keys[0], name)
    return hosted.call(line, body, token=token, version="2021-04-12", if_match=if_match)


def module(name: str = "m1", **more: object) -> dict[str, object]:
    return {"moduleId": name, "deviceId": "Edge1", "managedBy": "IotEdge", **more}


def test_a_device_makes_and_finds_its_modules(hosted: Hosted, device: Device) -> None:
    """PUT creates with the keys given; GET and the list show generation and etag."""
    auth = {"type": "sas", "symmetricKey": KEYS}
    made = as_device(hosted, device, "PUT /devices/Edge1/modules/m1", module(authentication=auth))
    assert made.status == 200
    assert made["managedBy"] == "IotEdge"
    assert str(made["generationId"]).isdecimal()
    assert made.headers["etag"] == f'"{made["etag"]}"'
    got = as_device(hosted, device, "GET /devices/Edge1/modules/m1")
    assert (got.status, got.body) == (200, made.body)
    assert got["authentication"] == {
        "type": "sas",
        "symmetricKey": KEYS,
        "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
    }
    assert as_device(hosted, device, "GET /devices/Edge1/modules").body == [made.body]


def test_ids_may_be_percent_encoded(hosted: Hosted) -> None:
    """`%24edgeAgent` is `$edgeAgent`, which an edge device has from its creation."""
    edge = hosted.registry.create_device("Edge1")
    got = as_device(hosted, edge, "GET /devices/Edge1/modules/%24edgeAgent")
    assert (got.status, got["moduleId"], got["managedBy"]) == (200, "$edgeAgent", "IotEdge")
    assert as_device(hosted, edge, "GET /devices/Edge1/modules/$edgeHub/").status == 200


def test_an_update_needs_if_match_and_keeps_the_generation(hosted: Hosted, device: Device) -> None:
    """Without If-Match a PUT creates only; `*` or the etag update, another is 412."""
    made = as_device(hosted, device, "PUT /devices/Edge1/modules/m1", module())
    again = as_device(hosted, device, "PUT /devices/Edge1/modules/m1", module())
    assert (again.status, again.headers["iothub-errorcode"]) == (409, "ModuleAlreadyExistsOnDevice")
    assert again.message == (
        "ErrorCode:ModuleAlreadyExistsOnDevice;Module m1 already exists on device Edge1"
    )
    new = as_device(
        hosted, device, "PUT /devices/Edge1/modules/m1",
        module(authentication={"type": "sas", "symmetricKey": KEYS}), if_match="*",
    )  # fmt: skip
    assert (new.status, new["generationId"]) == (200, made["generationId"])
    assert new["etag"] != made["etag"]
    stale = as_device(
        hosted, device, "PUT /devices/Edge1/modules/m1", module(), if_match=f'"{made["etag"]}"'
    )
    assert (stale.status, stale.headers["iothub-errorcode"]) == (412, "PreconditionFailed")
    fresh = as_device(
        hosted, device, "PUT /devices/Edge1/modules/m1", module(), if_match=f'"{new["etag"]}"'
    )
    assert fresh.status == 200


def test_a_deleted_module_is_gone_and_its_successor_another(hosted: Hosted, device: Device) -> None:
    """DELETE answers 204 and then 404; a module of the same name has a new generation."""
    made = as_device(hosted, device, "PUT /devices/Edge1/modules/m1", module())
    wrong = as_device(hosted, device, "DELETE /devices/Edge1/modules/m1", if_match='"other"')
    assert wrong.status == 412
    assert as_device(hosted, device, "DELETE /devices/Edge1/modules/m1", if_match="*").status == 204
    gone = as_device(hosted, device, "DELETE /devices/Edge1/modules/m1", if_match="*")
    assert (gone.status, gone.headers["iothub-errorcode"]) == (404, "ModuleNotFound")
    missing = as_device(hosted, device, "PUT /devices/Edge1/modules/m1", module(), if_match="*")
    assert missing.status == 404
    hosted.clock.move(0.001)
    remade = as_device(hosted, device, "PUT /devices/Edge1/modules/m1", module())
    assert remade["generationId"] != made["generationId"]


def test_a_device_has_at_most_50_modules(hosted: Hosted, device: Device) -> None:
    """The 51st module is refused with 403, an update of the 50th is not."""
    for number in range(50):
        name = f"m{number}"
        made = as_device(hosted, device, f"PUT /devices/Edge1/modules/{name}", module(name))
        assert made.status == 200
    more = as_device(hosted, device, "PUT /devices/Edge1/modules/m50", module("m50"))
    assert (more.status, more.headers["iothub-errorcode"]) == (403, "TooManyModulesOnDevice")
    known = as_device(hosted, device, "PUT /devices/Edge1/modules/m49", module("m49"), if_match="*")
    assert known.status == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[]", "the body is list, expected a JSON object"),
        ({"moduleId": "other"}, "moduleId is 'other' in the body, expected 'm1' as in the path"),
        ({"managedBy": 7}, "managedBy is int, expected a text"),
        ({"authentication": []}, "authentication is list, expected an object"),
        ({"authentication": {"type": "magic"}}, "authentication type 'magic' is not known"),
        ({"authentication": {"symmetricKey": {"primaryKey": "!"}}}, "16 to 64 bytes in base64"),
        ({"authentication": {"type": "selfSigned"}}, "needs x509Thumbprint.primaryThumbprint"),
        (
            {"authentication": {"x509Thumbprint": {"primaryThumbprint": "AB"}}},
            "expected a SHA-1 or SHA-256 in hex",
        ),
    ],
)
def test_a_wrong_body_is_told_apart(
    hosted: Hosted, device: Device, body: object, message: str
) -> None:
    """Each mistake is a 400 ArgumentInvalid that names it, and makes no module."""
    got = as_device(hosted, device, "PUT /devices/Edge1/modules/m1", body)
    assert (got.status, got.headers["iothub-errorcode"]) == (400, "ArgumentInvalid")
    assert message in got.message
    assert hosted.registry.modules("Edge1") == []


@pytest.mark.parametrize("name", ["a%20b", "a%2Fb", "x" * 129, "%C3%A4"])
def test_ids_follow_the_hubs_rules(hosted: Hosted, device: Device, name: str) -> None:
    """Spaces, slashes, other letters and more than 128 characters are refused."""
    got = as_device(hosted, device, f"PUT /devices/Edge1/modules/{name}", {})
    assert got.status == 400
    assert "is not valid, expected 1 to 128 of" in got.message


def test_the_version_has_to_be_known(hosted: Hosted, device: Device) -> None:
    """A missing or unknown api-version is a 400."""
    for version in (None, "1999-01-01"):
        got = hosted.call("GET /devices/Edge1/modules", version=version)
        assert (got.status, got.headers["iothub-errorcode"]) == (400, "InvalidProtocolVersion")


def test_unknown_routes_and_methods(hosted: Hosted) -> None:
    """What does not exist is 404, a verb that a path does not have 405."""
    assert hosted.call("GET /nothing").status == 404
    assert hosted.call("PATCH /devices/Edge1").status == 405


def test_only_the_devices_own_keys_count(hosted: Hosted, device: Device) -> None:
    """Primary and secondary key are good; another key, no header or another device are 401."""
    audience = f"{HUB}/devices/Edge1"
    line = "GET /devices/Edge1/modules"
    for key in device.authentication.keys:
        got = hosted.call(line, token=hosted.token(audience, key), version=VERSION)
        assert got.status == 200
    other = hosted.registry.create_device("Edge2")
    tokens = {
        "signature does not match": hosted.token(audience, b"x" * 32),
        "not for device 'Edge1'": hosted.token(
            f"{HUB}/devices/Edge2", other.authentication.keys[0]
        ),
        "not for device 'Edge1' of this hub": hosted.token(
            "elsewhere.example/devices/Edge1", device.authentication.keys[0]
        ),
        "not a shared access signature": "Bearer abc",
    }
    for message, token in tokens.items():
        got = hosted.call(line, token=token, version=VERSION)
        assert (got.status, got.headers["iothub-errorcode"]) == (401, "IotHubUnauthorizedAccess")
        assert message in got.message
    assert hosted.call(line, version=VERSION).message.endswith("no token and no client certificate")


@pytest.mark.parametrize(
    "resource",
    [
        "hub.example/devices/edge1",
        "hub.example/devices/Edge1",
        "hub.example%2Fdevices%2FEdge1",
        "hub.example%2fdevices%2fEdge1",
        "hub.example%252Fdevices%252FEdge1",
        "HUB.EXAMPLE:8443/devices/Edge1",
        "localhost:8443/devices/Edge1",
    ],
)
def test_every_encoding_of_the_audience_is_accepted(
    hosted: Hosted, device: Device, resource: str
) -> None:
    """The signature is over `sr` as received, the audience is compared decoded, without case."""
    expiry = int(hosted.clock.now().timestamp()) + 60
    signature = hmac.digest(
        device.authentication.keys[0], sas.sign_text(resource, expiry), "sha256"
    )
    token = sas.token(resource, signature, expiry)
    assert hosted.call("GET /devices/Edge1/modules", token=token, version=VERSION).status == 200


def test_an_id_may_look_encoded(hosted: Hosted) -> None:
    """An id with a `%` is meant as it is; the device of the decoded name is another."""
    odd = hosted.registry.create_device("a%41", edge=False)
    plain = hosted.registry.create_device("aA", edge=False)
    for device, path in ((odd, "a%2541"), (plain, "aA")):
        for other in (odd, plain):
            token = hosted.token(f"{HUB}/devices/{device.device_id}", other.authentication.keys[0])
            got = hosted.call(f"GET /devices/{path}/modules", token=token, version=VERSION)
            assert got.status == (200 if other is device else 401)


def test_an_expired_token_is_named(hosted: Hosted, device: Device) -> None:
    """The answer says by how much, as the device's clock is the usual reason."""
    token = hosted.token(f"{HUB}/devices/Edge1", device.authentication.keys[0], seconds=30)
    hosted.clock.move(100)
    got = hosted.call("GET /devices/Edge1/modules", token=token, version=VERSION)
    assert got.status == 401
    assert "token expired 70 s ago" in got.message


def test_disabled_and_deleted_devices(hosted: Hosted, device: Device) -> None:
    """A disabled device is 401 until it is enabled; a deleted one is 404."""
    line = "GET /devices/Edge1/modules"
    hosted.registry.update_device(replace(device, status=Status.DISABLED))
    assert "is disabled" in as_device(hosted, device, line).message
    hosted.registry.update_device(device)
    assert as_device(hosted, device, line).status == 200
    hosted.registry.delete_device("Edge1")
    got = as_device(hosted, device, line)
    assert (got.status, got.headers["iothub-errorcode"]) == (404, "DeviceNotFound")


def test_a_device_changes_no_device(hosted: Hosted, device: Device) -> None:
    """A device reads itself; to change or list devices takes a policy."""
    assert as_device(hosted, device, "GET /devices/Edge1").status == 200
    assert as_device(hosted, device, "PUT /devices/Edge1", {}, if_match="*").status == 401
    assert as_device(hosted, device, "DELETE /devices/Edge1", if_match="*").status == 401
    assert as_device(hosted, device, "GET /devices").status == 401


def test_a_thumbprint_is_enough(hosted: Hosted) -> None:
    """SHA-256 and SHA-1 of the leaf are good, with any chain; another certificate is 401."""
    line = "GET /devices/Edge1/modules"
    own, other = signed("any name"), signed("Edge1")
    sha256, sha1 = thumbprints(own.chain[0])
    auth = Authentication(AuthType.SELF_SIGNED, primary_thumbprint=sha1)
    device = hosted.registry.create_device("Edge1", edge=False, authentication=auth)
    assert hosted.call(line, certificates=own.der, version=VERSION).status == 200
    second = replace(auth, primary_thumbprint="", secondary_thumbprint=sha256)
    hosted.registry.update_device(replace(device, authentication=second))
    assert hosted.call(line, certificates=own.der, version=VERSION).status == 200
    got = hosted.call(line, certificates=other.der, version=VERSION)
    assert "is not one of device 'Edge1'" in got.message
    hosted.clock.move(40 * 86400)
    assert (
        "the certificate expired"
        in hosted.call(line, certificates=own.der, version=VERSION).message
    )
    token = hosted.token(f"{HUB}/devices/Edge1", b"k" * 32)
    assert "does not authenticate by key" in hosted.call(line, token=token, version=VERSION).message


def test_a_trusted_authority_is_enough(hosted: Hosted) -> None:
    """A leaf with the device's name counts when its authority was made known to the hub."""
    line = "GET /devices/Edge1/modules"
    root = signed("root", authority=True)
    auth = Authentication(AuthType.CERTIFICATE_AUTHORITY)
    hosted.registry.create_device("Edge1", edge=False, authentication=auth)
    device, other = signed("Edge1", root), signed("Edge2", root)
    assert hosted.call(line, certificates=device.der, version=VERSION).status == 401
    hosted.registry.trust("root", root.pem)
    assert hosted.call(line, certificates=device.der, version=VERSION).status == 200
    assert hosted.call(line, certificates=other.der, version=VERSION).status == 401
    assert hosted.call(line, certificates=(b"junk",), version=VERSION).status == 401


def test_a_key_device_shows_no_certificate(hosted: Hosted, device: Device) -> None:
    """A certificate is no way in for a device that has a key."""
    got = hosted.call(
        "GET /devices/Edge1/modules", certificates=signed("Edge1").der, version=VERSION
    )
    assert got.status == 401


def test_a_service_manages_devices(hosted: Hosted) -> None:
    """Create with generated keys, read, replace the keys under the etag, delete."""
    made = as_owner(hosted, "PUT /devices/d1", {"deviceId": "d1", "status": "enabled"})
    assert made.status == 200
    device = hosted.registry.device("d1")
    assert [len(key) for key in device.authentication.keys] == [32, 32]
    again = as_owner(hosted, "PUT /devices/d1", {"deviceId": "d1"})
    assert (again.status, again.headers["iothub-errorcode"]) == (409, "DeviceAlreadyExists")
    body = {"authentication": {"symmetricKey": KEYS}, "status": "disabled", "statusReason": "lost"}
    etag = f'"{made["etag"]}"'
    changed = as_owner(hosted, "PUT /devices/d1", body, if_match=etag)
    assert (changed["status"], changed["statusReason"]) == ("disabled", "lost")
    assert changed["generationId"] == made["generationId"]
    assert hosted.registry.device("d1").authentication.primary_key == KEYS["primaryKey"]
    assert as_owner(hosted, "DELETE /devices/d1", if_match=etag).status == 412
    assert as_owner(hosted, "DELETE /devices/d1").status == 204
    assert as_owner(hosted, "GET /devices/d1").status == 404
    assert as_owner(hosted, "PUT /devices/d1", body, if_match="*").status == 404


def test_an_edge_device_has_a_scope_and_its_system_modules(hosted: Hosted) -> None:
    """`capabilities.iotEdge` makes both; deleting the device takes the modules along."""
    made = as_owner(hosted, "PUT /devices/d1", {"capabilities": {"iotEdge": True}})
    assert made["deviceScope"] == f"ms-azure-iot-edge://d1-{made['generationId']}"
    names = [module.module_id for module in hosted.registry.modules("d1")]
    assert names == ["$edgeAgent", "$edgeHub"]
    as_owner(hosted, "DELETE /devices/d1")
    assert hosted.registry.modules("d1") == []


def test_statistics_count_by_status(hosted: Hosted, device: Device) -> None:
    """All, enabled and disabled devices; nothing is connected to a registry."""
    hosted.registry.update_device(replace(device, status=Status.DISABLED))
    hosted.registry.create_device("Edge2")
    assert as_owner(hosted, "GET /statistics/devices").body == {
        "totalDeviceCount": 2,
        "enabledDeviceCount": 1,
        "disabledDeviceCount": 1,
    }
    assert as_owner(hosted, "GET /statistics/service").body == {"connectedDeviceCount": 0}


def test_devices_are_listed_in_order(hosted: Hosted) -> None:
    """`GET /devices` shows whole devices by id."""
    for name in ("b", "a"):
        hosted.registry.create_device(name)
    listed = as_owner(hosted, "GET /devices").body
    assert isinstance(listed, list)
    assert [entry["deviceId"] for entry in listed] == ["a", "b"]


@pytest.mark.parametrize(
    ("policy", "line", "status"),
    [
        ("registryRead", "GET /devices", 200),
        ("registryRead", "PUT /devices/d1", 403),
        ("registryRead", "GET /statistics/service", 403),
        ("registryReadWrite", "PUT /devices/d1", 200),
        ("service", "GET /statistics/service", 200),
        ("service", "GET /devices", 403),
        ("device", "GET /devices", 403),
    ],
)
def test_a_policy_allows_what_it_is_for(
    hosted: Hosted, policy: str, line: str, status: int
) -> None:
    """Rights are those of IoT Hub's policies; what lacks one is 403."""
    assert as_policy(hosted, policy, line, {}).status == status


def test_a_policys_token_has_to_be_right(hosted: Hosted) -> None:
    """An unknown policy, a wrong key, another hub and a missing header are 401."""
    owner = hosted.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert owner is not None
    cases = {
        "policy 'nobody' is not known": hosted.token(HUB, owner.keys[0], "nobody"),
        "signature does not match": hosted.token(HUB, b"x" * 32, "iothubowner"),
        "which is not this hub": hosted.token("other.example", owner.keys[0], "iothubowner"),
    }
    for message, token in cases.items():
        got = hosted.call("GET /devices", token=token, version="2021-04-12")
        assert got.status == 401
        assert message in got.message
    assert hosted.call("GET /devices", version="2021-04-12").status == 401
    second = hosted.token(HUB, owner.keys[1], "iothubowner")
    assert hosted.call("GET /devices", token=second, version="2021-04-12").status == 200
