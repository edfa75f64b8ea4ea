"""The sample sensor as a process, against a workload API on a socket."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes.workload import VERSION, Authority, FakeWorkload
from harness.edge_hub import DEVICE, key_of, populate
from harness.edged import until
from skerry.wire.identity import Identity
from skerry_factory.paths import Checkout
from skerry_lab.messages.model import Event
from skerry_lab.server import Lab

SENSOR = Checkout.of_package().root / "images/containers/sample-sensor/sensor.py"


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a module, with its socket in a folder."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
        "GATEWAY_PORT": "1",
        "INTERVAL_SECONDS": "0.01",
        "IOTEDGE_APIVERSION": VERSION,
        "IOTEDGE_DEVICEID": "house 1",
        "IOTEDGE_GATEWAYHOSTNAME": "localhost",
        "IOTEDGE_IOTHUBHOSTNAME": "hub.example",
        "IOTEDGE_MODULEGENERATIONID": "7",
        "IOTEDGE_MODULEID": "sensor",
        "IOTEDGE_WORKLOADURI": f"unix://{folder / 'workload.sock'}",
    }


@contextmanager
def sensor(variables: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run the sensor; whatever happens it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-I", str(SENSOR)],
        env=dict(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_of(process: subprocess.Popen[str], count: int) -> list[dict[str, Any]]:
    """Return the next lines of its output, without those about the hub."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        line = next_line(process)
        found += [line] if not line["event"].startswith("hub ") else []
    return found


def next_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert process.stderr is not None
    assert line, process.stderr.read()
    told: dict[str, Any] = json.loads(line)
    return told


def test_it_proves_its_identity_then_logs_readings(tmp_path: Path) -> None:
    """One line about the proof, then readings until SIGTERM, which ends it with status 0."""
    workload = FakeWorkload()
    with workload.serving(tmp_path / "workload.sock"), sensor(environment(tmp_path)) as process:
        proof, *readings = lines_of(process, 4)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert proof["event"] == "identity proven"
    assert (proof["module"], proof["subject"], proof["issuer"]) == ("sensor", "sensor", "edge CA")
    assert [reading["event"] for reading in readings] == ["reading"] * 3
    assert [reading["number"] for reading in readings] == [1, 2, 3]
    assert all(17 <= reading["temperature_celsius"] <= 25 for reading in readings)


def test_it_signs_what_a_device_sdk_signs(tmp_path: Path) -> None:
    """The encoded resource of the module, a line feed, the expiry."""
    workload = FakeWorkload()
    with workload.serving(tmp_path / "workload.sock"), sensor(environment(tmp_path)) as process:
        lines_of(process, 1)
    resource, expiry = workload.signed[0].decode().splitlines()
    assert resource == "hub.example%2Fdevices%2Fhouse+1%2Fmodules%2Fsensor"
    assert expiry.isdecimal()


def test_without_a_hub_it_goes_on_and_says_why(tmp_path: Path) -> None:
    """Readings are logged all the same; the reason is a line of its own."""
    with FakeWorkload().serving(tmp_path / "workload.sock"), sensor(environment(tmp_path)) as one:
        while (line := next_line(one))["event"] != "hub not reached":
            pass
        assert lines_of(one, 1)[0]["event"] == "reading"
    assert line["hub"] == "localhost"
    assert "refused" in line["reason"]


def test_it_sends_its_readings(tmp_path: Path) -> None:
    """To the hub of the device, as the module that it is; what arrives is what was logged."""
    workload = FakeWorkload(module="a")
    with Lab(tmp_path / "lab") as lab:
        populate(lab)
        workload.key = key_of(lab, Identity(DEVICE, "a"))
        workload.beside = lab.root_pem
        variables = {
            **environment(tmp_path),
            "IOTEDGE_DEVICEID": DEVICE,
            "IOTEDGE_MODULEID": "a",
            "IOTEDGE_IOTHUBHOSTNAME": lab.hub_name,
            "GATEWAY_PORT": str(lab.mqtt_port),
        }
        with workload.serving(tmp_path / "workload.sock"), sensor(variables) as process:
            _, *logged = lines_of(process, 4)
            until(lambda: len(arrived(lab)) > 2, "readings arrive")
        sent = [json.loads(event.telemetry.body) for event in arrived(lab)[:3]]
    assert [{"event": "reading", **one} for one in sent] == logged


def arrived(lab: Lab) -> list[Event]:
    return lab.store.do(lambda cloud: list(cloud.messages.read(0, 1000, 10_000_000)))


def test_it_waits_for_its_socket(tmp_path: Path) -> None:
    """A socket that appears later is found."""
    socket = tmp_path / "workload.sock"
    with sensor(environment(tmp_path)) as process, FakeWorkload().serving(socket):
        assert lines_of(process, 1)[0]["event"] == "identity proven"


def test_sigterm_ends_a_pause(tmp_path: Path) -> None:
    """However long it would be until the next reading."""
    variables = {**environment(tmp_path), "INTERVAL_SECONDS": "3600"}
    with FakeWorkload().serving(tmp_path / "workload.sock"), sensor(variables) as process:
        lines_of(process, 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        pytest.param(
            FakeWorkload(trusted=Authority.make("somebody else")),
            "does not hold under the trust bundle",
            id="another authority",
        ),
        pytest.param(
            FakeWorkload(days=-1), "certificate has expired", id="expired",
        ),
        pytest.param(FakeWorkload(key_of_another=True), "key values mismatch", id="another key"),
        pytest.param(
            FakeWorkload(certificate_name="other"),
            "the certificate is for 'other', expected 'sensor'",
            id="another module",
        ),
        pytest.param(FakeWorkload(digest=b"short"), "sign answered 5 bytes", id="no HMAC"),
        pytest.param(
            FakeWorkload(generation="8"), "sign was refused with 403", id="another generation",
        ),
        pytest.param(
            FakeWorkload(refusals={"trust-bundle": (404, "no bundle")}),
            'GET /trust-bundle was refused with 404: {"message":"no bundle"}',
            id="no trust bundle",
        ),
        pytest.param(
            FakeWorkload(answers={"identity": {}}), "answer is not understood", id="no certificate",
        ),
    ],
)  # fmt: skip
def test_an_identity_that_is_not_proved_ends_it(
    tmp_path: Path, workload: FakeWorkload, message: str
) -> None:
    """Status 1 and one line that says what failed; no reading, no key in the message."""
    with workload.serving(tmp_path / "workload.sock"), sensor(environment(tmp_path)) as process:
        output, talk = process.communicate(timeout=20)
    assert process.returncode == 1
    assert talk.startswith("sample-sensor: identity not proved: ")
    assert message in talk
    assert "PRIVATE" not in talk
    assert output == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"IOTEDGE_MODULEID": ""}, "IOTEDGE_MODULEID is not set"),
        ({"IOTEDGE_WORKLOADURI": "http://x"}, "IOTEDGE_WORKLOADURI is 'http://x', expected unix"),
        ({"INTERVAL_SECONDS": "soon"}, "INTERVAL_SECONDS is 'soon', expected a number above 0"),
        ({"INTERVAL_SECONDS": "nan"}, "INTERVAL_SECONDS is 'nan'"),
        ({"GATEWAY_PORT": "0"}, "GATEWAY_PORT is '0', expected a port"),
    ],
    ids=["no module", "no unix socket", "no number", "not a number", "no port"],
)
def test_an_environment_of_no_module_ends_it(
    tmp_path: Path, changed: dict[str, str], message: str
) -> None:
    """Status 2 and one line with the variable and its value."""
    with sensor({**environment(tmp_path), **changed}) as process:
        talk = process.communicate(timeout=20)[1]
    assert process.returncode == 2
    assert message in talk
    assert len(talk.splitlines()) == 1
