"""Direct methods between clients of the hub, over its HTTPS."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.edge_hub import EdgeHub, populate
from harness.figures import unseen
from harness.lab import HUB, SetClock, make_token
from harness.mqtt import MqttDevice
from skerry.heads.links import Links
from skerry.heads.routes import Request
from skerry.hub.access import Access
from skerry.hub.errors import AccessError
from skerry.hub.methods import MethodsApi
from skerry.hub.scope import Client, Proof, Scope
from skerry.wire.identity import Identity
from skerry.wire.mqtt import Publish
from skerry.wire.topics import METHODS, MethodCall, method_response_topic, parse_hub_topic
from skerry_lab.server import Lab

LEAF_PATH = "POST /twins/leaf/methods"
CALL = {"methodName": "blink", "payload": {"n": 1}, "responseTimeoutInSeconds": 5}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeHub]:
    """One for all: nothing is stored by calls."""
    folder: Path = tmp_path_factory.mktemp("methods")
    with Lab(folder / "lab") as lab:
        populate(lab)
        with EdgeHub(folder / "hub", lab) as running:
            running.until_ready()
            yield running


def answer(client: MqttDevice, status: int, payload: bytes) -> threading.Thread:
    """Answer the next call, in a thread."""

    def run() -> None:
        called = client.next(Publish)
        found = parse_hub_topic(called.topic)
        assert isinstance(found, MethodCall)
        assert json.loads(called.payload) == {"n": 1}
        client.publish(method_response_topic(status, found.request_id), payload, qos=0)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("payload", "told"), [(b'{"on":true}', {"on": True}), (b"", None), (b"\xffraw", "\ufffdraw")]
)
def test_a_module_calls_a_leaf(hub: EdgeHub, payload: bytes, told: object) -> None:
    """Its status and payload come back; what is no JSON as text."""
    with hub.device(Identity("leaf")) as client:
        assert client.connect().code == 0
        client.subscribe(METHODS)
        thread = answer(client, 207, payload)
        assert hub.call(LEAF_PATH, CALL) == (200, {"status": 207, "payload": told})
        thread.join()


def test_a_module_calls_a_module(hub: EdgeHub) -> None:
    """By its own route."""
    with hub.device(Identity("edge", "b")) as client:
        assert client.connect().code == 0
        client.subscribe(METHODS)
        thread = answer(client, 200, b"1")
        found = hub.call("POST /twins/edge/modules/b/methods", CALL)
        assert found == (200, {"status": 200, "payload": 1})
        thread.join()


def test_who_is_away_or_takes_no_methods_is_not_found(hub: EdgeHub) -> None:
    """At once, for the caller did not say that it waits."""
    status, said = hub.call(LEAF_PATH, CALL)
    assert (status, said["message"]) == (404, "leaf is not connected")
    with hub.device(Identity("leaf")) as client:
        assert client.connect().code == 0
        status, said = hub.call(LEAF_PATH, CALL)
        assert (status, said["message"]) == (404, "leaf does not take direct methods")


class Silent:
    """A client that never answers."""

    identity: Identity = Identity("leaf")
    expires_at: float | None = None

    def desired(self, version: int, patch: object) -> None: ...

    def messages_waiting(self) -> None: ...

    def identity_changed(self) -> None: ...

    async def call(self, name: str, payload: bytes, timeout_seconds: float) -> tuple[int, bytes]:
        raise TimeoutError

    def close(self, reason: str) -> None: ...


def test_a_client_that_does_not_answer() -> None:
    """After the time that the caller gives it."""
    links, key = Links(), b"k" * 32
    links.add(Silent())
    clock = SetClock()
    scope = Scope().with_clients([Client(Identity("edge", "a"), Proof.SAS, (key,))])
    access = Access(lambda: scope, frozenset({HUB}), list, clock)
    token = make_token(f"{HUB}/devices/edge/modules/a", key, clock.now().timestamp() + 60)
    headers = {"x-ms-edge-moduleid": "edge/a", "authorization": token}
    request = Request("POST", "/", headers=headers, body=json.dumps(CALL).encode())
    with pytest.raises(AccessError, match="leaf did not answer within 5 s") as refused:
        asyncio.run(MethodsApi("edge", access, links, unseen()).invoke(request, "leaf"))
    assert refused.value.status == 504


@pytest.mark.parametrize(
    ("caller", "key", "status", "said"),
    [
        (None, None, 400, "expected 'DEVICE/MODULE'"),
        ("edge", None, 400, "the header x-ms-edge-moduleId is 'edge'"),
        ("other/m", b"k", 401, "is not a module of this device"),
        ("edge/a", b"wrong", 401, "signature does not match"),
        ("edge/nobody", b"k", 401, "not in the scope"),
    ],
)
def test_who_may_call(
    hub: EdgeHub, caller: str | None, key: bytes | None, status: int, said: str
) -> None:
    """A module of this device, which shows its token."""
    found, body = hub.call(LEAF_PATH, CALL, caller=caller, key=key)
    assert (found, said in body["message"]) == (status, True), body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "methodName is None"),
        ({"methodName": "x" * 101}, "expected a text of 1 to 100 characters"),
        ({"methodName": "x", "responseTimeoutInSeconds": 4}, "expected 5 to 300"),
        ({"methodName": "x", "connectTimeoutInSeconds": True}, "expected 0 to 300"),
        ({"methodName": "x", "payload": "y" * 131_072}, "expected at most 131072"),
    ],
)
def test_a_call_that_is_none(hub: EdgeHub, body: object, said: str) -> None:
    """What is wrong with it is told."""
    status, found = hub.call(LEAF_PATH, body)
    assert (status, said in found["message"]) == (400, True), found


def test_other_paths_are_not_known(hub: EdgeHub) -> None:
    """Neither path nor method."""
    assert hub.call("POST /nothing", {})[0] == 404
    assert hub.call("PUT /twins/leaf/methods", {})[0] == 405
