"""The hub as edged starts it: a process that knows its environment and the workload API."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from fakes.workload import VERSION, FakeWorkload
from harness.edge_hub import HUB, desired, key_of, populate
from harness.edged import until
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


def free_port() -> int:
    """Return a port that IPv4 and IPv6 both have free."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as found:
        return int(found.getsockname()[1])


def environment(folder: Path, lab: Lab | None = None, **more: str) -> dict[str, str]:
    """Return what edged puts into the container."""
    return {
        "IOTEDGE_WORKLOADURI": f"unix://{folder / 'w.sock'}",
        "IOTEDGE_APIVERSION": VERSION,
        "IOTEDGE_DEVICEID": "edge",
        "IOTEDGE_MODULEID": "$edgeHub",
        "IOTEDGE_MODULEGENERATIONID": "7",
        "IOTEDGE_IOTHUBHOSTNAME": lab.hub_name if lab else "hub.example",
        "EdgeDeviceHostName": "localhost",
        "StorageFolder": str(folder),
        "UpstreamPort": str(lab.mqtt_port) if lab else "1",
        "mqttSettings__port": str(free_port()),
        "httpSettings__port": str(free_port()),
        **more,
    }


@contextmanager
def running(variables: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Run the service; what it says comes on its standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "skerry.hub.service"],
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]", text: str) -> str:
    """Return the first line that holds a text."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        if text in line:
            return line
        seen.append(line)
    raise AssertionError(f"the hub ended without {text!r}: {seen}")


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
    assert (found.storage, found.durability) == (tmp_path / "edgeHub", Durability.WRITTEN)
    alone = read_surroundings(environment(tmp_path, IOTEDGE_IOTHUBHOSTNAME="LOCALHOST"))
    assert not alone.has_cloud
