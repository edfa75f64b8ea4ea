"""`skerry-lab export` and `import`: the same lab again, or nothing."""

import json
import stat
from pathlib import Path

import pytest

from harness.lab import signed
from skerry_lab.cli import main
from skerry_lab.store import Store
from skerry_lab.transfer import export_lab

BASE = '{"modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {}}}}}'


def test_a_lab_comes_back_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Devices, modules, keys, twins, authorities, enrolments, deployments; twice is as once."""
    one, two = ["--data", str(tmp_path / "one")], ["--data", str(tmp_path / "two")]
    root, file = tmp_path / "root.pem", tmp_path / "state.json"
    root.write_text(signed("root", authority=True).pem)
    for verb in (
        ["device", "create", "d1"],
        ["device", "create", "d2", "--am", "x509_ca", "--ee", "false", "--status", "disabled"],
        ["device", "create", "d3", "--am", "x509_thumbprint", "--ptp", "ab" * 20],
        ["device", "parent", "set", "-d", "d1", "--pd", "d3"],
        ["device", "children", "add", "-d", "d1", "--cl", "d2"],
        ["module", "create", "-d", "d1", "-m", "m1"],
        ["twin", "update", "-d", "d1", "--tags", '{"site": "x"}', "--desired", '{"a": {"b": 1}}'],
        ["twin", "update", "-d", "d1", "-m", "m1", "--desired", '{"c": [2]}'],
        ["certificate", "create", "plant", "--path", str(root)],
        ["certificate", "create", "other", "--path", str(root), "--verified", "false"],
        ["deploy", "create", "-d", "base", "-k", BASE, "--tc", "*", "--pri", "2"],
        ["enrollment", "create", "e1", "--payload", '{"p": 1}', "--rp", "reset"],
        ["enrollment", "create", "site", "--group", "--at", "x509", "--cp", str(root)],
    ):
        assert main([*verb, *one]) == 0
    assert main(["export", "-f", str(file), *one]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for _ in range(2):
        capsys.readouterr()
        assert main(["import", "-f", str(file), *two, "--output", "json"]) == 0
        counted = {"devices": 3, "certificates": 2, "enrollments": 2, "configurations": 1}
        assert json.loads(capsys.readouterr().out) == counted
        store = Store(tmp_path / "two")
        assert store.do(export_lab) == json.loads(file.read_text())
        store.close()
        assert main(["twin", "update", "-d", "d2", "--tags", '{"other": 1}', *two]) == 0


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "the file is list"),
        ({"version": 2}, "version 2, expected 1"),
        ({"version": 1, "devices": {}}, "devices in the file is no list"),
        ({"version": 1, "devices": [1]}, "devices is int"),
        ({"version": 1, "devices": [{}]}, "deviceId None, expected a text"),
        ({"version": 1, "devices": [{"deviceId": "x", "status": "odd"}]}, "status 'odd'"),
        ({"version": 1, "enrollments": [{"registrationId": "r"}]}, "type"),
        ({"version": 1, "certificates": []}, "certificates is list"),
    ],
)
def test_a_file_that_is_none_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], document: object, why: str
) -> None:
    """Also what stands before the mistake."""
    file, data = tmp_path / "state.json", ["--data", str(tmp_path / "lab")]
    if isinstance(document, dict) and isinstance(document.get("devices", []), list):
        document = {**document, "devices": [{"deviceId": "good"}, *document.get("devices", [])]}
    file.write_text(json.dumps(document))
    assert main(["import", "-f", str(file), *data]) == 1
    assert why in capsys.readouterr().err
    assert main(["device", "list", *data, "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
