"""Direct methods over REST, answered by a device that is connected over MQTT."""

import json
import threading
from collections.abc import Iterator

import pytest

from harness.lab import make_token
from harness.mqtt import MqttDevice
from skerry.base.https import HttpsAnswer, HttpsClient, trust_context
from skerry.wire.identity import Identity
from skerry.wire.topics import METHODS, MethodCall, method_response_topic, parse_hub_topic
from skerry_lab.server import Lab

MODULE = Identity("d1", "$edgeHub")


@pytest.fixture
def client(lab: Lab) -> Iterator[MqttDevice]:
    """A connected device that takes methods."""
    device = lab.registry.create_device("d1")
    with MqttDevice(lab, Identity("d1"), device.authentication.keys[0]) as opened:
        opened.connect()
        opened.subscribe(METHODS)
        yield opened


def headers(lab: Lab, caller: Identity | None = None) -> dict[str, str]:
    now = lab.clock.now().timestamp()
    if caller is None:
        policy = lab.store.do(lambda cloud: cloud.policies.get("service"))
        assert policy is not None
        token = make_token(lab.hub_name, policy.keys[0], now + 60, policy.name)
        return {"authorization": token}
    module = next(m for m in lab.registry.modules("d1") if m.module_id == caller.module_id)
    audience = f"{lab.hub_name}/devices/d1/modules/{caller.module_id}"
    token = make_token(audience, module.authentication.keys[0], now + 60)
    return {"authorization": token, "x-ms-edge-moduleid": str(caller)}


def invoke(
    lab: Lab, body: str, of: str = "d1", caller: Identity | None = None, **other: str
) -> HttpsAnswer:
    url = f"https://localhost:{lab.https_port}/twins/{of}/methods?api-version=2021-04-12"
    client = HttpsClient(trust_context([lab.root_pem], system_roots=False))
    sent = {**headers(lab, caller), **other}
    return client.request("POST", url, headers=sent, body=body.encode())


def answering(client: MqttDevice, status: int, payload: bytes) -> threading.Thread:
    """Answer the next call from another thread."""

    def work() -> None:
        asked = parse_hub_topic(client.message().topic)
        assert isinstance(asked, MethodCall)
        client.publish(method_response_topic(status, asked.request_id), payload)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("payload", "shown"), [(b'{"a":1}', b'{"a":1}'), (b"", b"null"), (b"text", b'"text"')]
)
def test_a_service_calls_a_device(
    payload: bytes, shown: bytes, lab: Lab, client: MqttDevice
) -> None:
    """And gets its status and payload."""
    thread = answering(client, 207, payload)
    got = invoke(lab, '{"methodName": "m", "payload": {"x": 1}}')
    thread.join()
    assert (got.status, got.body) == (200, b'{"status":207,"payload":' + shown + b"}")


def test_a_module_calls_with_its_own_token(lab: Lab, client: MqttDevice) -> None:
    """Of the identity that it names, no other."""
    thread = answering(client, 200, b"1")
    assert invoke(lab, '{"methodName": "m"}', caller=MODULE).status == 200
    thread.join()
    other = {"x-ms-edge-moduleid": "d1/$edgeAgent"}
    assert invoke(lab, '{"methodName": "m"}', caller=MODULE, **other).status == 401


def test_who_is_not_connected_is_404(lab: Lab, client: MqttDevice) -> None:
    """As IoT Hub says it, and so is who takes no methods."""
    got = invoke(lab, '{"methodName": "m"}', "d1/modules/$edgeAgent")
    assert (got.status, got.headers["iothub-errorcode"]) == (404, "DeviceNotOnline")
    _, _, told = str(json.loads(got.body)["Message"]).partition(";")
    assert json.loads(told)["errorCode"] == 404103
    device = lab.registry.device("d1")
    with MqttDevice(lab, Identity("d1"), device.authentication.keys[0]) as quiet:
        quiet.connect()
        assert invoke(lab, '{"methodName": "m"}').status == 404


def test_a_device_that_goes_is_404(lab: Lab, client: MqttDevice) -> None:
    """Without waiting for the time to pass."""

    def leave() -> None:
        client.message()
        client.sock.close()

    thread = threading.Thread(target=leave)
    thread.start()
    assert invoke(lab, '{"methodName": "m"}').status == 404
    thread.join()


def test_the_call_waits_for_the_device_if_asked(lab: Lab, client: MqttDevice) -> None:
    """Up to connectTimeoutInSeconds."""
    module = next(m for m in lab.registry.modules("d1") if m.module_id == "$edgeHub")
    got: list[HttpsAnswer] = []
    body = '{"methodName": "m", "connectTimeoutInSeconds": 20}'
    caller = threading.Thread(target=lambda: got.append(invoke(lab, body, "d1/modules/$edgeHub")))
    with MqttDevice(lab, MODULE, module.authentication.keys[0], clean_session=False) as late:
        late.connect()
        late.subscribe(METHODS)
    caller.start()
    with MqttDevice(lab, MODULE, module.authentication.keys[0], clean_session=False) as late:
        late.connect()
        answering(late, 200, b"1").join()
        caller.join()
    assert got[0].status == 200


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("{", "not JSON"),
        ("{}", "methodName is None"),
        ('{"methodName": ""}', "expected a text of 1 to 100 characters"),
        ('{"methodName": "m", "responseTimeoutInSeconds": 4}', "is 4, expected 5 to 300"),
        ('{"methodName": "m", "connectTimeoutInSeconds": true}', "is True, expected 0 to 300"),
        ('{"methodName": "m", "payload": "' + "x" * 131072 + '"}', "expected at most 131072"),
    ],
)
def test_a_bad_call_is_refused(body: str, problem: str, lab: Lab, client: MqttDevice) -> None:
    """Before anybody is asked."""
    got = invoke(lab, body)
    assert got.status == 400
    assert problem in got.body.decode()


def test_nobody_is_404(lab: Lab, client: MqttDevice) -> None:
    """With the registry's word for it."""
    assert (
        invoke(lab, '{"methodName": "m"}', "none").headers["iothub-errorcode"] == "DeviceNotFound"
    )
