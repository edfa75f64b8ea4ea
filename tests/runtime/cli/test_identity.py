"""`skerry identity show`, with real services and a lab cloud, and with what goes wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cloud_device import SAS, SYMMETRIC, CloudDevice, cloud_device
from skerry.cli.main import run


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudDevice]:
    with cloud_device(tmp_path) as made:
        monkeypatch.setenv("SKERRY_RUN", str(made.services.folder))
        yield made


def test_a_provisioned_device_is_shown(
    device: CloudDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    """Source, proof, hub, device and modules, one a line; no key handle in either form."""
    device.enrol()
    device.start(device.dps(SYMMETRIC)).create_module("pump")
    assert run(["identity", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "source            dps",
        "proof             symmetric_key",
        f"endpoint          {device.lab.endpoint}",
        f"scope id          {device.lab.id_scope}",
        "registration id   pump-7",
        f"hub               {device.lab.hub_name}",
        f"gateway           {device.lab.hub_name}",
        "device id         pump-7",
        "modules           $edgeAgent, $edgeHub, pump",
    ]
    assert run(["identity", "show", "--output", "json"]) == 0
    text = capsys.readouterr().out
    answer = json.loads(text)
    assert answer["device"] == {
        "hub": device.lab.hub_name,
        "gateway": device.lab.hub_name,
        "device_id": "pump-7",
        "auth": "sas",
    }
    assert (answer["modules"][-1], answer["problem"]) == ("pump", None)
    assert "sr=" not in text


def test_a_device_without_identity_says_why(
    device: CloudDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    """How it would be provisioned is shown all the same; exit status 1."""
    device.keys.create_key("device-id", b"no key that the hub knows")
    device.start(device.manual(SAS))
    assert run(["identity", "show"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("source            manual\nproof             sas\n")
    assert printed.err.startswith("skerry: no identity: ")
    assert run(["identity", "show", "--output", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["device"] is None
    assert answer["problem"]


def test_without_identityd_the_command_says_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1."""
    monkeypatch.setenv("SKERRY_RUN", str(tmp_path))
    assert run(["identity", "show"]) == 1
    assert capsys.readouterr().err.endswith("is it configured? (journalctl -u skerry-identityd)\n")
