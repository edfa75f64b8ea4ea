"""The hub as edged starts it: a process that knows its environment and the workload API."""

import base64
import signal
import ssl
import subprocess
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from fakes.workload import FakeWorkload
from harness.edge_hub import HUB, desired, key_of, populate
from harness.edged import until
from harness.hub_service import environment, running, said
from harness.mqtt import MqttDevice
from skerry.base.clock import SystemClock
from skerry.hub.store.model import Durability
from skerry.hub.surroundings import read_surroundings
from skerry.module.errors import SurroundingsError
from skerry.wire.identity import Identity
from skerry.wire.mqtt import ConnAck
from skerry.wire.topics import events_topic
from skerry_lab.messages.model import Event
from skerry_lab.server import Lab

A = Identity("edge", "a")
END_SECONDS = 20


def arrived(lab: Lab) -> list[Event]:
    return lab.store.do(lambda cloud: list(cloud.messages.read(0, 1000, 10_000_000)))


def client(lab: Lab, process: "subprocess.Popen[str]", fake: FakeWorkload) -> MqttDevice:
    """A module that dials the hub; to be used once it has said where it listens."""
    port = int(said(process, "edge hub serves").partition("mqtt=")[2].split()[0])
    facts = SimpleNamespace(
        hub_name=lab.hub_name, mqtt_port=port, root_pem=fake.authority.pem, clock=SystemClock()
    )
    return MqttDevice(cast("Lab", facts), A, key_of(lab, A))


def is_let_in(device: MqttDevice) -> bool:
    device.open()
    if device.connect() == ConnAck():
        return True
    device.sock.close()
    return False


def test_a_module_reaches_the_cloud_through_the_service(tmp_path: Path) -> None:
    """With tokens, certificate and trust from edged; SIGTERM ends it cleanly."""
    with Lab(tmp_path / "lab") as lab:
        populate(lab)
        fake = FakeWorkload(module="$edgeHub", key=key_of(lab, HUB))
        fake.answers["trust-bundle"] = {"certificate": lab.root_pem}
        with fake.serving(tmp_path / "w.sock"), running(environment(tmp_path, lab)) as process:
            module = client(lab, process, fake)
            until(lambda: is_let_in(module), "the hub knows the module")
            module.publish(events_topic("edge", "a"), b"21.5")
            until(lambda: arrived(lab), "the message has arrived")
            module.sock.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_SECONDS) == 0
        (event,) = arrived(lab)
        assert (event.telemetry.identity, event.telemetry.body) == (A, b"21.5")


def test_a_restart_without_the_cloud_knows_its_clients(tmp_path: Path) -> None:
    """From what is kept, which tells nothing to who has the disk alone."""
    with Lab(tmp_path / "lab") as lab:
        populate(lab)
        fake = FakeWorkload(module="$edgeHub", key=key_of(lab, HUB))
        fake.answers["trust-bundle"] = {"certificate": lab.root_pem}
        variables, key = environment(tmp_path, lab), key_of(lab, A)
        with fake.serving(tmp_path / "w.sock"), running(variables) as process:
            module = client(lab, process, fake)
            until(lambda: is_let_in(module), "the hub knows the module")
            module.sock.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_SECONDS) == 0
    kept = b"".join(path.read_bytes() for path in (tmp_path / "edgeHub").glob("hub.db*"))
    assert base64.b64encode(key) not in kept
    assert b"edge/a" in kept
    with fake.serving(tmp_path / "w.sock"), running(variables) as process:
        port = int(said(process, "edge hub serves").partition("mqtt=")[2].split()[0])
        facts = SimpleNamespace(
            hub_name=lab.hub_name, mqtt_port=port, root_pem=fake.authority.pem, clock=SystemClock()
        )
        module = MqttDevice(cast("Lab", facts), A, key)
        assert is_let_in(module)
        module.sock.close()


def test_the_devices_own_deployment_counts_until_the_cloud_has_one(tmp_path: Path) -> None:
    """Its routes are used from the start, and are not looked at once the twin has settings."""
    with Lab(tmp_path / "lab") as lab:
        populate(lab)
        lab.store.do(lambda cloud: cloud.twins.replace(HUB, desired={}))
        fake = FakeWorkload(module="$edgeHub", key=key_of(lab, HUB))
        fake.answers["trust-bundle"] = {"certificate": lab.root_pem}
        own = {"$edgeHub": {"properties.desired": desired({"up": "FROM /* INTO $upstream"})}}
        fake.answers["deployment"] = {"modulesContent": own}
        with fake.serving(tmp_path / "w.sock"), running(environment(tmp_path, lab)) as process:
            module = client(lab, process, fake)
            until(lambda: is_let_in(module), "the hub has its settings")
            module.publish(events_topic("edge", "a"), b"1")
            until(lambda: len(arrived(lab)) == 1, "the message has arrived")
            lab.store.do(lambda cloud: cloud.twins.patch(HUB, desired=desired({})))
            bodies = iter(range(2, 10_000))

            def is_dropped() -> bool:
                before = len(arrived(lab))
                module.publish(events_topic("edge", "a"), str(next(bodies)).encode())
                return len(arrived(lab)) == before

            until(is_dropped, "the twin's settings, without routes, are in force")
            module.sock.close()


def test_without_edged_the_hub_waits_and_can_be_ended(tmp_path: Path) -> None:
    """It says what it waits for; the store is closed when it ends."""
    with running(environment(tmp_path)) as process:
        assert "w.sock" in said(process, "no server certificate yet")
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_SECONDS) == 0


def test_a_folder_that_cannot_be_used_ends_it(tmp_path: Path) -> None:
    """Exit status 1, and the reason."""
    (tmp_path / "edgeHub").write_text("in the way")
    with running(environment(tmp_path)) as process:
        assert "edgeHub" in said(process, "cannot go on")
        assert process.wait(END_SECONDS) == 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("IOTEDGE_DEVICEID", "", "IOTEDGE_DEVICEID is not set; edged starts me"),
        ("IOTEDGE_WORKLOADURI", "http://x", "expected unix:///path"),
        ("UpstreamPort", "many", "UpstreamPort is 'many', expected a port from 0 to 65535"),
        ("mqttSettings__port", "65536", "mqttSettings__port is '65536', expected a port"),
        ("ServerCertificateRenewAfterInMs", "0", "is '0', expected a whole number from 1"),
        ("MaxConnectedClients", "-1", "is '-1', expected a whole number from 1"),
        ("UpstreamProtocol", "Http", "UpstreamProtocol is 'Http', expected 'Mqtt' or 'MqttWs'"),
        ("UpstreamMessageBytesPerDay", "1MB", "is '1MB', expected a whole number from 1"),
        ("SslProtocols", "tls1.1", "expected 'tls1.2', 'tls1.3' or both; older ones are unsafe"),
        ("SslProtocols", "", "SslProtocols is ''"),
        ("StoreDurability", "maybe", "expected one of 'synced', 'written', 'memory'"),
    ],
)
def test_an_environment_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, value: str, expected: str
) -> None:
    """The variable, its value and what was expected."""
    with pytest.raises(SurroundingsError, match=expected):
        read_surroundings(environment(tmp_path, None, **{name: value}))


def test_the_environment_says_who_and_where(tmp_path: Path) -> None:
    """A device whose hub has its own name has no cloud."""
    found = read_surroundings(environment(tmp_path, StoreDurability="Written"))
    assert found.has_cloud
    assert found.names == {"hub.example", "localhost"}
    assert found.renew_after == timedelta(days=30)
    assert (found.report_seconds, found.most_clients) == (5, 4096)
    assert found.message_bytes_per_day is None
    metered = read_surroundings(environment(tmp_path, UpstreamMessageBytesPerDay="1000000"))
    assert metered.message_bytes_per_day == 1_000_000
    assert found.tls == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    only = read_surroundings(environment(tmp_path, SslProtocols="TLS1.3"))
    assert only.tls == (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
    assert (found.storage, found.durability) == (tmp_path / "edgeHub", Durability.WRITTEN)
    alone = read_surroundings(environment(tmp_path, IOTEDGE_IOTHUBHOSTNAME="LOCALHOST"))
    assert not alone.has_cloud
