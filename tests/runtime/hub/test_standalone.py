"""The hub of a device without a cloud, as edged starts it, and what people ask it."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fakes.workload import FakeWorkload
from harness.edge_hub import desired
from harness.edged import until
from harness.hub_service import environment, running, said
from harness.mqtt import MqttDevice
from skerry.base.clock import SystemClock
from skerry.cli.main import run
from skerry.hub.desired import parse_desired
from skerry.hub.errors import DesiredError, ScopeError
from skerry.hub.scope import read_local
from skerry.wire.identity import Identity
from skerry.wire.mqtt import ConnAck, Publish
from skerry.wire.topics import (
    METHODS,
    MethodCall,
    events_topic,
    method_response_topic,
    parse_hub_topic,
)
from skerry_lab.server import Lab

A, B, LEAF = map(Identity.parse, ("edge/a", "edge/b", "leaf"))
KEYS = {one: str(one).encode().ljust(32, b".") for one in (A, B, LEAF)}
ROUTES = {
    "in": 'FROM /messages/modules/a/* INTO BrokeredEndpoint("/modules/b/inputs/in1")',
    "leaf": "FROM /messages WHERE NOT IS_DEFINED($connectionModuleId) "
    'INTO BrokeredEndpoint("/modules/b/inputs/leaf")',
}


def entry(identity: Identity) -> dict[str, object]:
    """Return a client in the shape of the scope."""
    keys = {"primaryKey": base64.b64encode(KEYS[identity]).decode()}
    auth = {"type": "sas", "symmetricKey": keys}
    found: dict[str, object] = {"deviceId": identity.device_id, "authentication": auth}
    return found | ({"moduleId": identity.module_id} if identity.module_id else {})


def scope(*modules: Identity) -> dict[str, object]:
    return {
        "devices": [{"deviceId": "edge", "authentication": {"type": "none"}}, entry(LEAF)],
        "modules": [entry(one) for one in modules],
    }


@dataclass
class Alone:
    """The hub, what edged tells it, and where its clients find it."""

    folder: Path
    edged: FakeWorkload
    port: int

    def device(self, identity: Identity) -> MqttDevice:
        facts = SimpleNamespace(
            hub_name="localhost",
            mqtt_port=self.port,
            root_pem=self.edged.authority.pem,
            clock=SystemClock(),
        )
        return MqttDevice(cast("Lab", facts), identity, KEYS[identity])

    def ask(self, *words: str) -> int:
        return run(["hub", *words, "--store", str(self.folder / "edgeHub")])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    folder = tmp_path_factory.mktemp("alone")
    fake = FakeWorkload(module="$edgeHub")
    own = {"$edgeHub": {"properties.desired": desired(ROUTES)}}
    fake.answers |= {"deployment": {"modulesContent": own}, "scope": scope(A)}
    around = environment(folder, IOTEDGE_IOTHUBHOSTNAME="localhost", MetricsPort="0")
    with fake.serving(folder / "w.sock"), running(around) as process:
        port = int(said(process, "edge hub serves").partition("mqtt=")[2].split()[0])
        reading = threading.Thread(target=lambda: list(process.stderr or ()), daemon=True)
        reading.start()
        made = Alone(folder, fake, port)
        until(lambda: is_let_in(made.device(A)), "the hub has its settings")
        yield made


def is_let_in(device: MqttDevice) -> bool:
    device.open()
    found = device.connect() == ConnAck()
    device.sock.close()
    return found


def test_a_module_that_is_newer_than_the_scope_is_let_in(alone: Alone) -> None:
    """The stock SDK gives up on a first refusal, so edged is asked once more."""
    alone.edged.answers["scope"] = scope(A, B)
    until(lambda: is_let_in(alone.device(B)), "the new module", seconds=3)


def test_messages_reach_modules_from_modules_and_leaf_devices(alone: Alone) -> None:
    """By the routes of the device's own deployment."""
    alone.edged.answers["scope"] = scope(A, B)
    until(lambda: is_let_in(alone.device(B)), "the module is known", seconds=10)
    with alone.device(A) as a, alone.device(B) as b, alone.device(LEAF) as leaf:
        for one in (a, leaf):
            assert one.connect() == ConnAck()
        assert b.connect() == ConnAck()
        assert b.subscribe("devices/edge/modules/b/inputs/#") == (1,)
        a.publish(events_topic("edge", "a"), b"1")
        assert (message := b.message()).payload == b"1"
        assert "/inputs/in1/" in message.topic
        leaf.publish(events_topic("leaf"), b"2")
        assert (message := b.message()).payload == b"2"
        assert "/inputs/leaf/" in message.topic


def test_desired_properties_are_set_on_the_device(
    alone: Alone,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Merged, counted, kept, told to the client that listens, and shown beside what it reports."""
    (tmp_path / "patch").write_text('{"rate": {"s": 1}, "gone": 1}')
    assert alone.ask("twin", "edge/a", "--patch", str(tmp_path / "patch")) == 0
    with alone.device(A) as a:
        assert a.connect() == ConnAck()
        a.subscribe("$iothub/twin/PATCH/properties/desired/#", "$iothub/twin/res/#")
        monkeypatch.setattr("sys.stdin", io.StringIO('{"rate": {"m": 2}, "gone": null}'))
        assert alone.ask("twin", "edge/a", "--patch", "-") == 0
        told = json.loads(a.message().payload)
        version = told.pop("$version")
        assert told == {"rate": {"m": 2}, "gone": None}
        a.publish("$iothub/twin/PATCH/properties/reported/?$rid=1", b'{"on": true}', qos=0)
        assert "res/204" in a.next(Publish).topic
        capsys.readouterr()
        assert alone.ask("twin", "edge/a", "--output", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["client"], found["connected"]) == ("edge/a", True)
    assert found["properties"]["desired"] == {"rate": {"s": 1, "m": 2}, "$version": version}
    assert found["properties"]["reported"]["on"] is True


def answer(client: MqttDevice, status: int) -> threading.Thread:
    """Answer the next call with what came, in a thread."""

    def go() -> None:
        called = client.next(Publish)
        found = parse_hub_topic(called.topic)
        assert isinstance(found, MethodCall)
        client.publish(method_response_topic(status, found.request_id), called.payload, qos=0)

    thread = threading.Thread(target=go)
    thread.start()
    return thread


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (404, 1)])
def test_a_method_is_called_from_the_device(
    alone: Alone,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    status: int,
    exit_status: int,
) -> None:
    """The answer is printed, its status tells programs."""
    (tmp_path / "payload").write_text('{"n": 1}')
    with alone.device(LEAF) as leaf:
        assert leaf.connect() == ConnAck()
        leaf.subscribe(METHODS)
        thread = answer(leaf, status)
        words = ["method", "leaf", "blink", "--payload", str(tmp_path / "payload")]
        assert alone.ask(*words, "--output", "json") == exit_status
        thread.join()
    assert json.loads(capsys.readouterr().out) == {"status": status, "payload": {"n": 1}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["twin", "stranger"], "stranger is not a client of this hub; it knows edge, edge/a"),
        (["method", "leaf", "blink"], "leaf is not connected"),
        (["method", "leaf", "blink", "--timeout", "1"], "responseTimeoutInSeconds is 1, expected"),
        (["method", "leaf", "x" * 101], "methodName is"),
        (["twin", "leaf", "--patch", "/none"], "/none cannot be read: No such file"),
        (["twin", "leaf", "--patch", "/etc/hostname"], "/etc/hostname is not JSON"),
        (["twin", "leaf", "--patch", "{}/list"], "the patch is not a JSON object"),
        (["twin", "leaf", "--patch", "{}/deep"], "properties.desired"),
    ],
)
def test_what_cannot_be_asked_is_said(
    alone: Alone,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: list[str],
    message: str,
) -> None:
    """Exit status 1, the reason on standard error, and nothing changes."""
    (tmp_path / "list").write_text("[]")
    deep: Any = 1
    for _ in range(20):
        deep = {"a": deep}
    (tmp_path / "deep").write_text(json.dumps(deep))
    assert alone.ask(*(word.format(tmp_path) for word in words)) == 1
    assert message in capsys.readouterr().err


def test_a_hub_that_does_not_run_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is a store, and nobody who has it open."""
    (tmp_path / "hub.db").write_bytes(b"")
    assert run(["hub", "twin", "leaf", "--store", str(tmp_path)]) == 1
    assert "the edge hub does not run; see: skerry list" in capsys.readouterr().err


def test_a_route_to_a_cloud_that_is_not_there_is_refused() -> None:
    """By name, with the whole set."""
    with pytest.raises(DesiredError, match=r"route 'up' leads to \$upstream, and this device has"):
        parse_desired(desired({"up": "FROM /* INTO $upstream"}), has_cloud=False)


def test_a_device_without_a_scope_of_its_own_is_said() -> None:
    """edged answers 404 where the cloud has the scope."""
    with pytest.raises(ScopeError, match="is it one without a cloud"):
        read_local(None)
