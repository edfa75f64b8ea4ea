"""`skerry-lab`'s verbs for modules, twins, messages and methods, with and without a server."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.mqtt import MqttDevice
from skerry.heads.model import Telemetry
from skerry.wire.identity import Identity
from skerry_lab.cli import main
from skerry_lab.client import LabClient
from skerry_lab.errors import LabError
from skerry_lab.server import Lab, LabSettings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lab"


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a verb; gives its status, standard output and standard error."""

    def once(*arguments: str) -> tuple[int, str, str]:
        status = main([*arguments, "--data", str(folder)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return once


def _message(body: bytes, module_id: str | None = None) -> Telemetry:
    return Telemetry(Identity("d1", module_id), {"content-type": "text/plain"}, {"a": "b"}, body)


def test_a_module_is_created_listed_shown_and_deleted(run: Run) -> None:
    """The connection string names the module; a module that is gone is named as missing."""
    run("device", "create", "d1")
    key = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
    status, out, _ = run(
        "module", "create", "-d", "d1", "-m", "m1", "--pk", key, "--output", "json"
    )
    made = json.loads(out)
    assert (status, made["connectionString"]) == (
        0, f"HostName=localhost;DeviceId=d1;ModuleId=m1;SharedAccessKey={key}",
    )  # fmt: skip
    shown = run("module", "show", "-d", "d1", "-m", "m1", "--output", "json")[1]
    assert json.loads(shown) == made
    assert "m1" in run("module", "list", "-d", "d1")[1]
    assert run("module", "delete", "-d", "d1", "-m", "m1") == (0, "", "")
    assert run("module", "show", "-d", "d1", "-m", "m1")[0] == 1
    assert run("module", "list", "-d", "none")[0] == 1


def test_a_twin_is_changed_and_shown(run: Run) -> None:
    """Null removes, replace puts the whole, a stale etag changes nothing."""
    run("device", "create", "d1")
    status, out, _ = run(
        "twin", "update", "-d", "d1", "--desired", '{"a":1,"b":2}', "--tags", '{"site":"x"}'
    )
    etag = json.loads(out)["etag"]
    assert status == 0
    run("twin", "update", "-d", "d1", "--desired", '{"a":null}')
    shown = json.loads(run("twin", "show", "-d", "d1")[1])
    assert (shown["tags"], shown["properties"]["desired"]["b"]) == ({"site": "x"}, 2)
    assert "a" not in shown["properties"]["desired"]
    status, _, err = run("twin", "replace", "-d", "d1", "--desired", "{}", "--etag", etag)
    assert (status, err.startswith("skerry-lab: ")) == (1, True)
    replaced = json.loads(run("twin", "replace", "-d", "d1", "--desired", '{"c":3}')[1])
    assert replaced["properties"]["desired"]["$version"] == 4
    assert run("twin", "show", "-d", "d1", "-m", "none")[0] == 1


def test_a_message_to_a_device_is_queued_and_purged(run: Run, tmp_path: Path) -> None:
    """Text or a file; what is no property and what is no file is named."""
    run("device", "create", "d1")
    file = tmp_path / "body"
    file.write_bytes(b"\xff")
    sent = run("c2d", "send", "-d", "d1", "--dfp", str(file), "--mid", "one", "--props", "a=b;c=")
    assert sent[1].startswith("messageId      one\n")
    assert "is not a property" in run("c2d", "send", "-d", "d1", "--body", "x", "-p", "a")[2]
    assert "cannot be read" in run("c2d", "send", "-d", "d1", "--dfp", str(tmp_path / "none"))[2]
    assert "expires" in run("c2d", "send", "-d", "d1", "--body", "x", "--expiry", "1")[2]
    assert json.loads(run("c2d", "purge", "-d", "d1", "--output", "json")[1]) == {
        "deviceId": "d1",
        "totalMessagesPurged": 1,
    }


def test_verbs_that_need_the_server_say_so(run: Run, folder: Path) -> None:
    """Without a server they fail with the command that starts one; `status` shows that."""
    assert "holds no lab" in run("status")[2]
    assert not folder.exists()
    run("device", "create", "d1")
    for verb in (["monitor"], ["c2d", "feedback"], ["method", "invoke", "-d", "d1", "--mn", "m"]):
        assert run(*verb) == (
            1, "", f"skerry-lab: no lab runs on {folder}; start it with `skerry-lab up --data "
            f"{folder}`\n",
        )  # fmt: skip
    assert json.loads(run("status", "--output", "json")[1])["running"] is False
    (folder / "lab.json").write_text(
        '{"pid": 1, "hub": "localhost:1", "https_port": 1, "mqtt_port": 1}'
    )
    (folder / "ca.pem").write_text(json.loads(run("root", "--output", "json")[1])["certificate"])
    assert "no lab runs" in run("monitor")[2]
    (folder / "lab.json").write_text("{")
    assert "cannot be used" in run("monitor")[2]


def test_a_running_lab_is_shown(lab: Lab, run: Run, folder: Path) -> None:
    """`status` has ports and counts; a method of a device that is away is the hub's error."""
    run("device", "create", "d1")
    lab.store.do(lambda cloud: cloud.messages.append([_message(b"one")]))
    shown = json.loads(run("status", "--output", "json")[1])
    assert (shown["running"], shown["mqttPort"], shown["httpsPort"]) == (
        True, lab.mqtt_port, lab.https_port,
    )  # fmt: skip
    assert (shown["devices"], shown["messagesStored"], shown["connectedDevices"]) == (1, 1, 0)
    keys = lab.registry.device("d1").authentication.keys
    with MqttDevice(lab, Identity("d1"), keys[0]) as device:
        device.connect()
        assert json.loads(run("status", "--output", "json")[1])["connectedDevices"] == 1
        status, _, err = run("method", "invoke", "-d", "d1", "--mn", "go", "--to", "5")
        assert (status, "is not online and takes no direct methods" in err) == (1, True)
    with pytest.raises(LabError, match="answers 404"):
        LabClient(folder).request("GET", "/devices/none")


def test_feedback_is_taken_once_or_kept(lab: Lab, run: Run) -> None:
    """What is kept is there again."""
    run("device", "create", "d1")
    run("c2d", "send", "-d", "d1", "--body", "x", "--ack", "full", "--mid", "one")
    run("c2d", "purge", "-d", "d1")
    kept = json.loads(run("c2d", "feedback", "--keep", "--output", "json")[1])
    assert [record["originalMessageId"] for record in kept] == ["one"]
    assert json.loads(run("c2d", "feedback", "--output", "json")[1]) == kept
    assert json.loads(run("c2d", "feedback", "--output", "json")[1]) == []


def test_monitor_prints_a_message_a_line(lab: Lab, run: Run) -> None:
    """JSON is one object a line; the text form shows what is asked for."""
    run("device", "create", "d1")
    run("module", "create", "-d", "d1", "-m", "m1")
    lab.store.do(lambda cloud: cloud.messages.append([_message(b"one"), _message(b"two", "m1")]))
    lines = run("monitor", "--from", "earliest", "--mc", "2", "--output", "json")[1].splitlines()
    assert [json.loads(line)["body"] for line in lines] == ["one", "two"]
    text = run("monitor", "--from", "1", "--mc", "1", "-d", "d1", "-m", "m1", "--props", "all")[1]
    assert "d1/m1  two\n    a: b\n" in text
    assert "    content-type: text/plain\n" in text


def test_monitoring_goes_on_after_a_restart(folder: Path) -> None:
    """Messages stored while nobody listened arrive; the server may come back at another port."""
    got: list[object] = []
    seen = threading.Event()
    with Lab(folder) as lab:
        lab.registry.create_device("d1")
        events = LabClient(folder, pause=lambda _: None).events("1")

        def read() -> None:
            for event in events:
                got.append(event["body"])
                seen.set()
                if len(got) == 3:
                    return

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        lab.store.do(lambda cloud: cloud.messages.append([_message(b"one")]))
        assert seen.wait(10)
    with Lab(folder, LabSettings()) as lab:
        batch = [_message(b"two"), _message(b"three")]
        lab.store.do(lambda cloud: cloud.messages.append(batch))
        reader.join(10)
    assert got == ["one", "two", "three"]
