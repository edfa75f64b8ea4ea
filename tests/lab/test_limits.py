"""The limits of azure-iot-edge.md §11.3 one by one: what just fits is taken, one more is refused.

Lists of what is refused for its form are beside each domain's tests.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness.lab import HUB, Got, Hosted, make_token, signed
from harness.mqtt import MqttDevice
from skerry.base.https import HttpsClient, trust_context
from skerry.wire.identity import Identity
from skerry.wire.mqtt import Publish
from skerry.wire.topics import TWIN_RESPONSES, events_topic, reported_topic
from skerry_lab.server import Lab

VERSION = "2021-04-12"
C2D = "POST /skerry/devices/d1/messages/devicebound"


@dataclass(frozen=True)
class Limit:
    """A request that just fits, the same with one more, and what that is answered with."""

    line: str
    fits: object
    beyond: object
    status: int
    code: str
    beyond_line: str = ""


def nested(levels: int) -> dict[str, object]:
    return {"a": nested(levels - 1) if levels > 1 else 1}


def desired(value: object) -> object:
    return {"properties": {"desired": value}}


def filled(size_bytes: int) -> dict[str, str]:
    """Return properties that count for so many bytes, in values of at most 4096."""
    found: dict[str, str] = {}
    while size_bytes:
        part = min(size_bytes, 4096)
        found[f"p{len(found):03}"] = "x" * (part - 4)
        size_bytes -= part
    return found


def keyed(octets: int) -> object:
    key = base64.b64encode(b"k" * octets).decode()
    keys = {"primaryKey": key, "secondaryKey": key}
    return {"deviceId": "new", "authentication": {"type": "sas", "symmetricKey": keys}}


def named(characters: int) -> tuple[str, object]:
    name = "n" * characters
    return f"PUT /devices/{name}", {"deviceId": name}


def entries(count: int) -> object:
    return [{"id": f"b{number}", "importMode": "create"} for number in range(count)]


def configured(**more: object) -> object:
    return {
        "id": "c1",
        "content": {"deviceContent": {"properties.desired.x": 1}},
        "targetCondition": "",
        **more,
    }


def metrics(count: int) -> object:
    queries = {f"m{n}": "SELECT deviceId FROM devices" for n in range(count)}
    return configured(metrics={"queries": queries})


def labels(count: int) -> object:
    return configured(labels={f"l{n}": "x" for n in range(count)})


TWIN, BAD, LARGE = "PATCH /twins/d1", "ArgumentInvalid", "RequestEntityTooLarge"
CONFIGURATION = "PUT /configurations/c1"
OF_SERVICES = {
    "desired, size": Limit(TWIN, desired(filled(32768)), desired(filled(32769)), 413, LARGE),
    "tags, size": Limit(TWIN, {"tags": filled(8192)}, {"tags": filled(8193)}, 413, LARGE),
    "twin, depth": Limit(TWIN, desired(nested(10)), desired(nested(11)), 400, BAD),
    "twin, name": Limit(TWIN, desired({"n" * 1024: 1}), desired({"n" * 1025: 1}), 400, BAD),
    "twin, name in UTF-8": Limit(
        TWIN, desired({"ü" * 512: 1}), desired({"ü" * 512 + "u": 1}), 400, BAD
    ),
    "twin, value": Limit(TWIN, desired({"a": "v" * 4096}), desired({"a": "v" * 4097}), 400, BAD),
    "twin, integer": Limit(TWIN, desired({"a": 2**52 - 1}), desired({"a": 2**52}), 400, BAD),
    "twin, negative": Limit(TWIN, desired({"a": 1 - 2**52}), desired({"a": -(2**52)}), 400, BAD),
    "twin, text": Limit(TWIN, desired({"a": "\U0001f30a"}), desired({"a": "\ud83c"}), 400, BAD),
    "to a device, size": Limit(
        C2D, {"body": "x" * 65536}, {"body": "x" * 65537}, 413, "MessageTooLarge"
    ),
    "to a device, with properties": Limit(
        C2D,
        {"body": "x" * 65529, "properties": {"na": "value"}},
        {"body": "x" * 65530, "properties": {"na": "value"}},
        413,
        "MessageTooLarge",
    ),
    "to a device, time": Limit(
        C2D, {"timeToLiveSeconds": 48 * 3600}, {"timeToLiveSeconds": 48 * 3600 + 1}, 400, BAD
    ),
    "to a device, id": Limit(C2D, {"messageId": "m" * 128}, {"messageId": "m" * 129}, 400, BAD),
    "key, shortest": Limit("PUT /devices/new", keyed(16), keyed(15), 400, BAD),
    "key, longest": Limit("PUT /devices/new", keyed(64), keyed(65), 400, BAD),
    "name of a device": Limit(*named(128), named(129)[1], 400, BAD, named(129)[0]),
    "many devices at once": Limit(
        "POST /devices", entries(100), entries(101), 413, "TooManyDevices"
    ),
    "metrics": Limit(CONFIGURATION, metrics(20), metrics(21), 400, BAD),
    "labels": Limit(CONFIGURATION, labels(64), labels(65), 400, BAD),
    "priority": Limit(
        CONFIGURATION, configured(priority=2**31 - 1), configured(priority=2**31), 400, BAD
    ),
}


@pytest.fixture
def site(hosted: Hosted) -> Hosted:
    hosted.registry.create_device("d1", edge=False)
    return hosted


def ask(site: Hosted, line: str, body: object = None, **query: str) -> Got:
    policy = site.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert policy is not None
    token = site.token(HUB, policy.keys[0], policy.name)
    return site.call(line, body, token=token, version=VERSION, query=query)


@pytest.mark.parametrize("limit", OF_SERVICES.values(), ids=OF_SERVICES)
def test_a_service_is_told_of_its_limit(limit: Limit, site: Hosted) -> None:
    """With its status and code; first the refusal, so that nothing of it is there."""
    got = ask(site, limit.beyond_line or limit.line, limit.beyond)
    assert (got.status, got.headers["iothub-errorcode"]) == (limit.status, limit.code), got
    taken = ask(site, limit.line, limit.fits)
    assert taken.status in (200, 201), taken


FULL = {
    "messages that wait": (50, C2D, {"body": "x"}, 403, "DeviceMaximumQueueDepthExceeded"),
    "modules": (50, "PUT /devices/d1/modules/m{}", {}, 403, "TooManyModulesOnDevice"),
    "configurations": (
        100, "PUT /configurations/c{}", configured(), 413, "ConfigurationCountLimitExceeded"
    ),
    "authorities": (100, "PUT /certificates/a{}", {}, 403, "TooManyCertificates"),
}  # fmt: skip


@pytest.mark.parametrize(("count", "line", "body", "status", "code"), FULL.values(), ids=FULL)
def test_so_many_there_may_be(
    count: int, line: str, body: dict[str, object], status: int, code: str, site: Hosted
) -> None:
    """The next is refused; another device, or one that is there already, is not concerned."""
    root = base64.b64encode(signed("root", authority=True).pem.encode()).decode()

    def put(number: int) -> Got:
        whole = {**body, **({"id": f"c{number}"} if "content" in body else {})}
        if "/certificates/" in line:
            whole["properties"] = {"certificate": root}
        if "/modules/" in line:
            whole |= {"deviceId": "d1", "moduleId": f"m{number}"}
        return ask(site, line.format(number), whole)

    for number in range(count):
        assert put(number).status in (200, 201)
    got = put(count)
    assert (got.status, got.headers["iothub-errorcode"]) == (status, code), got


def test_pages_have_a_largest_size(site: Hosted) -> None:
    """A thousand devices at once, not one more and not none."""
    assert ask(site, "GET /devices", top="1000").status == 200
    for top in ("0", "1001", "x"):
        got = ask(site, "GET /devices", top=top)
        assert (got.status, got.headers["iothub-errorcode"]) == (400, BAD)


OF_METHODS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "name": ({"methodName": "m" * 100}, {"methodName": "m" * 101}),
    "payload": ({"payload": "x" * 131070}, {"payload": "x" * 131071}),
    "shortest time": ({"responseTimeoutInSeconds": 5}, {"responseTimeoutInSeconds": 4}),
    "longest time": ({"responseTimeoutInSeconds": 300}, {"responseTimeoutInSeconds": 301}),
    "to connect": ({"connectTimeoutInSeconds": 0}, {"connectTimeoutInSeconds": 301}),
}


def test_methods_have_their_limits(lab: Lab) -> None:
    """What fits gets as far as the device, which is not there."""
    lab.registry.create_device("d1", edge=False)
    policy = lab.store.do(lambda cloud: cloud.policies.get("service"))
    assert policy is not None
    expiry = lab.clock.now().timestamp() + 60
    head = {"authorization": make_token(lab.hub_name, policy.keys[0], expiry, policy.name)}
    client = HttpsClient(trust_context([lab.root_pem], system_roots=False))
    url = f"https://localhost:{lab.https_port}/twins/d1/methods?api-version={VERSION}"
    for name, (fits, beyond) in OF_METHODS.items():
        for part, status, code in ((fits, 404, "DeviceNotOnline"), (beyond, 400, BAD)):
            body = json.dumps({"methodName": "m", **part}).encode()
            got = client.request("POST", url, headers=head, body=body)
            assert (got.status, got.headers["iothub-errorcode"]) == (status, code), (name, got)


@pytest.fixture
def client(lab: Lab) -> Iterator[MqttDevice]:
    """A connected device that hears how its reports were taken."""
    device = lab.registry.create_device("d1", edge=False)
    with MqttDevice(lab, Identity("d1"), device.authentication.keys[0]) as opened:
        opened.connect()
        opened.subscribe(TWIN_RESPONSES)
        yield opened


OF_REPORTS: dict[str, tuple[dict[str, object], object, int]] = {
    "size": ({**filled(32768)}, filled(32769), 413),
    "depth": (nested(10), nested(11), 400),
    "name": ({"n" * 1024: 1}, {"n" * 1025: 1}, 400),
    "value": ({"a": "v" * 4096}, {"a": "v" * 4097}, 400),
    "integer": ({"a": 2**52 - 1}, {"a": 2**52}, 400),
    "text": ({"a": "\U0001f30a"}, {"a": "\ud83c"}, 400),
}


def test_a_device_is_told_of_its_limits(lab: Lab, client: MqttDevice) -> None:
    """By the status of its report; the connection stays, the twin is as it was."""
    clear: dict[str, None] = {}
    for name, (fits, beyond, status) in OF_REPORTS.items():
        client.publish(reported_topic("1"), json.dumps(beyond).encode())
        assert client.message().topic == f"$iothub/twin/res/{status}/?$rid=1", name
        client.publish(reported_topic("2"), json.dumps({**clear, **fits}).encode())
        assert client.message().topic.startswith("$iothub/twin/res/204/?$rid=2"), name
        clear = dict.fromkeys(fits)
        client.publish(reported_topic("3"), json.dumps(clear).encode())
        assert client.message().topic.startswith("$iothub/twin/res/204/?$rid=3"), name


def test_a_message_counts_with_its_properties(lab: Lab, client: MqttDevice) -> None:
    """256 KiB of both over MQTT; one byte more ends the connection, as IoT Hub does it."""
    topic = events_topic("d1", properties={"na": "value"})
    client.publish(topic, b"x" * (262_144 - 7))
    client.send(Publish(topic, b"x" * (262_144 - 6), 1, 99))
    assert client.is_closed()
    kept = lab.store.do(lambda cloud: list(cloud.messages.read(0, 10, 1 << 20)))
    assert [len(event.telemetry.body) for event in kept] == [262_144 - 7]
