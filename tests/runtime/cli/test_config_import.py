"""`skerry config mp` and `import`: what they write, say, and refuse to overwrite."""

import io
import json
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from skerry.cli._config_import import not_read
from skerry.cli.main import run

CONNECTION = "HostName=hub.example;DeviceId=d;SharedAccessKey=AAE="
YAML = f'provisioning: {{device_connection_string: "{CONNECTION}"}}\nhostname: d\n'


def test_mp_writes_a_configuration_for_root_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mode 0600, upstream's reprovisioning mode, and the next command."""
    out = tmp_path / "made" / "config.toml"
    assert run(["config", "mp", "--connection-string", CONNECTION, "--out", str(out)]) == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert tomllib.loads(out.read_text()) == {
        "auto_reprovisioning_mode": "OnErrorOnly",
        "provisioning": {"source": "manual", "connection_string": CONNECTION},
    }
    assert capsys.readouterr().out == (
        f"{out} was written; to put it in force:\n\n    sudo skerry config apply --config '{out}'\n"
    )
    assert run(["config", "check", str(out)]) == 0


def test_mp_reads_the_string_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A secret need not stand in the list of processes."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{CONNECTION}\n"))
    out = tmp_path / "config.toml"
    assert run(["config", "mp", "-c", "-", "-o", str(out), "--output", "json"]) == 0
    assert CONNECTION in out.read_text()
    assert json.loads(capsys.readouterr().out) == {"result": "written", "file": str(out)}


def test_a_bad_connection_string_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, the reason, and no key in the message."""
    out = tmp_path / "config.toml"
    assert run(["config", "mp", "-c", "HostName=h;SharedAccessKey=swordfish", "-o", str(out)]) == 1
    assert capsys.readouterr().err == (
        "skerry: the connection string cannot be used: required parameter 'DeviceId' is missing\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("verb", ["mp", "import"])
def test_a_file_is_replaced_only_by_force(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --force the file stays as it is, and the message says both ways on."""
    out, old = tmp_path / "config.toml", tmp_path / "config.yaml"
    out.write_text("mine")
    old.write_text(YAML)
    command = ["config", verb, "-c", CONNECTION if verb == "mp" else str(old), "-o", str(out)]
    assert run(command) == 1
    assert capsys.readouterr().err == (
        f"skerry: {out} exists; put it in force with `skerry config apply`, "
        "or replace it with --force\n"
    )
    assert out.read_text() == "mine"
    assert run([*command, "--force"]) == 0
    assert CONNECTION in out.read_text()


def test_import_names_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One warning each on standard error, also for drop-ins that were written by hand."""
    old, out = tmp_path / "config.toml", tmp_path / "ours.toml"
    old.write_text('answer = 42\n[provisioning]\nsource = "none"\n')
    (tmp_path / "edged" / "config.d").mkdir(parents=True)
    for name in ("00-super.toml", "mine.toml"):
        (tmp_path / "edged" / "config.d" / name).write_text("")
    assert run(["config", "import", "--config", str(old), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == (
        "warning: answer: has no counterpart and is left out\n"
        f"warning: {tmp_path}/edged/config.d/mine.toml: was written by hand and is not read\n"
    )
    assert f"{out} was written" in printed.out
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_import_answers_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Result, file, warnings and problems; a refusal is exit status 1 and leaves no file."""
    old, out = tmp_path / "config.yaml", tmp_path / "config.toml"
    command = ["config", "import", "-c", str(old), "-o", str(out), "--output", "json"]
    old.write_text(YAML + "extra: 1\n")
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out) == {
        "result": "imported",
        "file": str(out),
        "warnings": [{"key": "extra", "message": "has no counterpart and is left out"}],
        "problems": [],
    }
    out.unlink()
    old.write_text(YAML + "watchdog: {max_retries: many}\n")
    assert run(command) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["result"], answer["file"]) == ("refused", None)
    assert [problem["key"] for problem in answer["problems"]] == ["watchdog.max_retries"]
    assert not out.exists()


def test_a_refusal_is_told_in_words_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key, what is wrong with it, what was expected."""
    old, out = tmp_path / "config.yaml", tmp_path / "config.toml"
    old.write_text(YAML + "watchdog: {max_retries: many}\n")
    assert run(["config", "import", "-c", str(old), "-o", str(out)]) == 1
    assert capsys.readouterr().err == (
        "watchdog.max_retries: 'many' does not fit; expected 'infinite' or a number\n"
        f"{old} was not imported; nothing was written\n"
    )


def test_a_source_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1."""
    missing = tmp_path / "config.yaml"
    assert run(["config", "import", "-c", str(missing), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said == f"skerry: {missing} cannot be read: no such file or directory\n"


def test_a_target_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, with the system's reason."""
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "config.toml"
    assert run(["config", "mp", "-c", CONNECTION, "-o", str(out)]) == 1
    assert "cannot be written: file exists" in capsys.readouterr().err


def test_drop_ins_of_the_old_units_are_named(tmp_path: Path) -> None:
    """A proxy that was set there would be missed only when the device is offline."""
    folder = tmp_path / "units" / "aziot-identityd.service.d"
    folder.mkdir(parents=True)
    (folder / "proxy.conf").write_text("[Service]\n")
    (notice,) = not_read(tmp_path / "config.toml", tmp_path / "units")
    assert str(notice) == (
        f"{folder}/proxy.conf: is not taken along; a proxy is set in a drop-in of skerry-*.service"
    )
