"""`skerry seed apply`: what it says, and what it leaves on the seed."""

import json
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.devices import make_device
from harness.seeds import write_seed
from skerry.cli.seed import apply_on, report_on
from skerry.config.apply import Device
from skerry.config.seed import seed_device

CONFIG = b'[provisioning]\nsource = "standalone"\n'


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return make_device(tmp_path)


class Opened:
    """Counts how often the seed was opened for writing."""

    def __init__(self) -> None:
        self.times = 0

    @contextmanager
    def __call__(self, folder: Path) -> Iterator[None]:
        self.times += 1
        yield


def _options(*, dry_run: bool = False, output: str = "text", boot: bool = False) -> Namespace:
    return Namespace(dry_run=dry_run, output=output, boot=boot)


def test_a_good_seed_is_applied_and_wiped(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The seed is opened for writing once, and not again when it is known."""
    seed = write_seed(tmp_path / "run/seed", {"config.toml": CONFIG, "secrets/a": b"x"})
    opened = Opened()
    assert apply_on(seed, device, _options(), opened) == 0
    assert "applied: generation 1" in capsys.readouterr().out
    assert (seed / "secrets/a").read_bytes() == b""
    assert apply_on(seed, device, _options(output="json"), opened) == 0
    assert json.loads(capsys.readouterr().out)["result"] == "unchanged"
    assert opened.times == 1


def test_the_console_gets_one_line(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At boot the differences are left out."""
    seed = write_seed(tmp_path / "run/seed", {"config.toml": CONFIG})
    assert apply_on(seed, device, _options(boot=True), Opened()) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("applied: generation 1; ")


def test_a_bad_configuration_is_explained_on_the_seed(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1; console and error.txt say where the mistake is."""
    seed = write_seed(tmp_path / "run/seed", {"config.toml": CONFIG + b"x = 1\n"})
    assert apply_on(seed, device, _options(), Opened()) == 1
    captured = capsys.readouterr()
    assert "config.toml:3:1: provisioning.x: unknown key" in captured.out
    assert captured.err == "skerry: seed refused; the device goes on with what it had\n"
    assert (seed / "error.txt").read_text() == (
        "config.toml:3:1: provisioning.x: unknown key; expected one of device_id, source\n"
    )


def test_a_broken_seed_is_explained_on_the_seed(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong digest is said on the console, in error.txt and in JSON."""
    seed = write_seed(tmp_path / "run/seed", {"config.toml": CONFIG})
    (seed / "config.toml").unlink()
    assert apply_on(seed, device, _options(output="json"), Opened()) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"result": "refused", "reason": "config.toml is missing"}
    assert captured.err == "skerry: seed refused: config.toml is missing\n"
    assert (seed / "error.txt").read_text() == "config.toml is missing\n"


def test_a_dry_run_leaves_the_seed_alone(device: Device, tmp_path: Path) -> None:
    """Neither a good nor a bad seed is opened for writing."""
    opened = Opened()
    good = write_seed(tmp_path / "good", {"config.toml": CONFIG})
    bad = write_seed(tmp_path / "bad", {"config.toml": b"x"})
    assert apply_on(good, device, _options(dry_run=True), opened) == 0
    assert apply_on(bad, device, _options(dry_run=True), opened) == 1
    assert opened.times == 0


def test_the_endorsement_key_is_left_on_the_seed(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is written once, the TPM is not asked again, and the seed stays what it was."""
    seed = write_seed(tmp_path / "run/seed", {"config.toml": CONFIG})
    opened, asked = Opened(), 0

    def facts() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return {"registration_id": "r", "endorsement_key": "QUJD", "storage_root_key": "x"}

    assert report_on(seed, facts, _options(output="json"), opened) == 0
    assert json.loads(capsys.readouterr().out) == {"result": "written"}
    assert json.loads((seed / "device.json").read_text()) == {
        "version": 1,
        "device": seed_device(seed),
        "registration_id": "r",
        "endorsement_key": "QUJD",
    }
    assert report_on(seed, facts, _options(output="json"), opened) == 0
    assert json.loads(capsys.readouterr().out) == {"result": "unchanged"}
    assert (opened.times, asked) == (1, 1)
    assert apply_on(seed, device, _options(), opened) == 0


def test_the_report_of_another_device_is_replaced(tmp_path: Path) -> None:
    """A stick that was used for another device before gets the report of this one."""
    seed = write_seed(tmp_path / "run/seed", {"config.toml": CONFIG})
    (seed / "device.json").write_text('{"version": 1, "device": "other"}')
    told = {"registration_id": "r", "endorsement_key": "QUJD"}
    report_on(seed, lambda: told, _options(), Opened())
    assert json.loads((seed / "device.json").read_text())["device"] == seed_device(seed)
