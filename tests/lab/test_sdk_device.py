"""The stock device SDK, unmodified, against the lab: its ports are fixed, so the lab takes those
on a loopback address of its own, which is also the hub's name.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness import sdk
from harness.lab import Signed, signed
from harness.tiers import Counts
from skerry.heads.certificates import thumbprints
from skerry.wire.identity import Identity
from skerry_lab.dps.model import Attestation, Enrollment
from skerry_lab.messages.model import Ack, Event, Outgoing
from skerry_lab.registry.model import Authentication, AuthType, Module
from skerry_lab.server import Lab, LabSettings

pytestmark = [pytest.mark.sdk, pytest.mark.root]

SCRIPTS = Path(__file__).parent / "sdk"
HOST = "127.0.9.1"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Lab]:
    """A lab at the ports of Azure, 443 and 8883."""
    settings = LabSettings(hosts=(HOST,), names=(HOST,), https_port=443, mqtt_port=8883)
    with Lab(tmp_path / "lab", settings) as lab:
        yield lab


def facts(tmp_path: Path, **more: object) -> dict[str, object]:
    return {"host": HOST, "root": str(tmp_path / "lab/ca.pem"), **more}


def environment(tmp_path: Path) -> dict[str, str]:
    root = str(tmp_path / "lab/ca.pem")
    return {"REQUESTS_CA_BUNDLE": root, "SSL_CERT_FILE": root}


def run(tmp_path: Path, script: str, **more: object) -> dict[str, object]:
    """Run a script of the SDK to its end and return what it said."""
    said = sdk.run(
        SCRIPTS / script,
        json.dumps(facts(tmp_path, **more)),
        environment=environment(tmp_path),
    )
    found = json.loads(said)
    assert isinstance(found, dict)
    return found


def stored(lab: Lab) -> list[Event]:
    return lab.store.do(lambda cloud: list(cloud.messages.read(0, 100_000, 10**9)))


def client_certificate(name: str) -> Signed:
    return signed(name, start=datetime.now(UTC), days=1)


def owner(lab: Lab) -> str:
    policy = lab.store.do(lambda cloud: cloud.policies.get("iothubowner"))
    assert policy is not None
    return policy.connection_string(HOST)


def module_string(lab: Lab) -> str:
    module = lab.store.do(
        lambda cloud: cloud.registry.put_module(Module("d1", "m1", cloud.registry.fresh_keys()))
    )
    key = module.authentication.primary_key
    return f"HostName={HOST};DeviceId=d1;ModuleId=m1;SharedAccessKey={key}"


@pytest.mark.parametrize("way", ["mqtt", "websockets", "x509"])
def test_device_and_module_do_all_they_can(hub: Lab, tmp_path: Path, way: str) -> None:
    """Messages both ways, twin, methods, a file: by key over MQTT and WebSocket, by thumbprint."""
    more: dict[str, object] = {"websockets": way == "websockets", "owner": owner(hub)}
    if way == "x509":
        pair = client_certificate("d1")
        more["certificate"] = str(pair.write(tmp_path))
        sha256, _ = thumbprints(pair.chain[0])
        auth = Authentication(AuthType.SELF_SIGNED, primary_thumbprint=sha256)
        hub.registry.create_device("d1", edge=False, authentication=auth)
    else:
        hub.registry.create_device("d1", edge=False)
        more["device"] = hub.connection_string("d1")
    more["module"] = module_string(hub)
    wanted = Outgoing(
        Identity("d1"), b"waits", properties={"a b": "1&2=ü"}, message_id="c-1", ack=Ack.FULL
    )
    hub.store.do(lambda cloud: cloud.messages.send(wanted))
    assert run(tmp_path, "device.py", **more) == {
        "device": {
            "twin": {"desired": {"$version": 1}, "reported": {"$version": 1}},
            "c2d": ["waits", "c-1", {"a b": "1&2=ü"}],
            "reported": 7,
            "desired": {"rate": 5, "$version": 2},
            "method": [207, {"got": {"n": 1}}],
            "upload": 201,
        },
        "module": {
            "desired": {"b": [1, {"c": 2}], "$version": 2},
            "method": [207, {"got": {"n": 1}}],
        },
    }
    first, large, out = (event.telemetry for event in stored(hub))
    assert first.system == {
        "message-id": "m 1",
        "correlation-id": "c/1",
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }
    assert first.properties == {"naïve/k&y=": "välue & more=1+2%"}
    assert len(large.body) == 262_000
    assert (out.identity, out.system["output-name"]) == (Identity("d1", "m1"), "alerts")
    assert hub.store.do(lambda cloud: cloud.messages.depth(Identity("d1"))) == 0


@pytest.mark.parametrize("websockets", [False, True])
@pytest.mark.parametrize("attestation", [Attestation.SYMMETRIC_KEY, Attestation.X509])
def test_a_device_is_provisioned(
    hub: Lab, tmp_path: Path, websockets: bool, attestation: Attestation
) -> None:
    """DPS over MQTT, by key and by certificate; the device connects where it is sent."""
    more: dict[str, object] = {"scope": hub.id_scope, "registration": "r1"}
    if attestation is Attestation.X509:
        pair = client_certificate("r1")
        more["certificate"] = str(pair.write(tmp_path))
        enrollment = Enrollment("r1", attestation, certificates=(pair.pem,), edge=False)
    else:
        keys = hub.store.do(lambda cloud: cloud.registry.fresh_keys())
        more["key"] = keys.primary_key
        enrollment = Enrollment(
            "r1", attestation, primary_key=keys.primary_key, secondary_key=keys.secondary_key,
            edge=False,
        )  # fmt: skip
    hub.add_enrollment(enrollment)
    assert run(tmp_path, "provision.py", websockets=websockets, **more) == {
        "status": "assigned",
        "hub": HOST,
        "device": "r1",
    }
    assert [event.telemetry.body for event in stored(hub)] == [b"provisioned"]


def test_a_second_connection_closes_the_first(hub: Lab, tmp_path: Path) -> None:
    """The first client is told by its connection's end; the second sends."""
    hub.registry.create_device("d1", edge=False)
    said = run(tmp_path, "rival.py", device=hub.connection_string("d1"))
    assert said == {"first": False, "second": True}
    assert [event.telemetry.body for event in stored(hub)] == [b"second"]


class Sender:
    """`sender.py` while it runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def line(self) -> object:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the sender has ended"
        return json.loads(line)

    def wait_for_desired(self, name: str, value: object) -> None:
        """Read until the device has heard of it; after a reconnection the SDK tells twins again."""
        while True:
            said = self.line()
            if isinstance(said, dict) and said.get("desired", {}).get(name) == value:
                return

    def ask(self, word: str) -> int:
        """Say a word and return how many messages were acknowledged when it was followed."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        while True:
            said = self.line()
            if isinstance(said, dict) and "sent" in said:
                return int(said["sent"])


@contextmanager
def sending(tmp_path: Path, lab: Lab, **more: object) -> Iterator[Sender]:
    """A device of the SDK that sends all the time."""
    told = facts(tmp_path, device=lab.connection_string("d1"), **more)
    command = [str(sdk.python()), "-W", "ignore", str(SCRIPTS / "sender.py"), json.dumps(told)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ, **environment(tmp_path)},
    ) as process:  # fmt: skip
        try:
            sender = Sender(process)
            assert sender.line() == "ready"
            yield sender
        finally:
            process.kill()


def _want(lab: Lab, desired: dict[str, object]) -> None:
    lab.store.do(lambda cloud: cloud.twins.patch(Identity("d1"), desired=desired))


def _lost(lab: Lab, sent: int) -> set[int]:
    return set(range(sent)) - {int(event.telemetry.body) for event in stored(lab)}


def test_a_restart_of_the_lab_is_survived(hub: Lab, tmp_path: Path, counts: Counts) -> None:
    """The SDK reconnects by itself; it still hears of desired properties and nothing is lost."""
    restarts = counts.of("restarts under the stock SDK", reduced=2, full=10)
    hub.registry.create_device("d1", edge=False)
    with sending(tmp_path, hub) as sender:
        for number in range(restarts):
            hub.stop()
            hub.start()
            _want(hub, {"n": number})
            sender.wait_for_desired("n", number)
        sent = sender.ask("stop")
    assert sent > 0
    assert _lost(hub, sent) == set()


def test_a_renewed_token_loses_nothing(hub: Lab, tmp_path: Path) -> None:
    """The SDK renews its token by a new connection, here every two seconds."""
    hub.registry.create_device("d1", edge=False)
    with sending(tmp_path, hub, ttl=122) as sender:
        counted = [sender.ask("wait"), sender.ask("wait"), sender.ask("stop")]
    assert 0 < counted[0] < counted[1] <= counted[2]
    assert _lost(hub, counted[2]) == set()
