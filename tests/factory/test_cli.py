"""The command line of the factory: usage, located errors, statuses, one verb per module."""

import json
from pathlib import Path

import pytest

from skerry_factory import __version__, cli
from skerry_factory.cli import build_parser


def test_version_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints one line and ends with 0."""
    with pytest.raises(SystemExit) as ended:
        cli.run(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"skerry-factory {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["assemble"],
        ["build"],
        ["stamp", "x", "--name", "n"],
        ["stamp", "x", "--fleet", "f"],
        ["stamp", "--fleet", "f", "--format", "raw"],
        ["stamp", "x", "--name", "n", "--config", "c", "--labels", "l"],
        ["boot", "x", "--until", "never"],
    ],
    ids=[
        "no verb",
        "unknown verb",
        "no id",
        "no config",
        "device and fleet",
        "format and fleet",
        "labels of one device",
        "unknown state",
    ],
)
def test_usage_errors_end_with_2(arguments: list[str]) -> None:
    """What the parser refuses is status 2."""
    with pytest.raises(SystemExit) as ended:
        cli.run(arguments)
    assert ended.value.code == 2


def test_verbs_are_found_by_file_name() -> None:
    """Every module cli_<verb>.py is a verb."""
    folder = Path(cli.__file__).parent
    help_text = build_parser().format_help()
    assert all(file.stem.removeprefix("cli_") in help_text for file in folder.glob("cli_*.py"))


def test_unknown_definition_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped id ends with 1, tells what was meant, and writes no data."""
    assert cli.run(["build", "debian-13-amd46"]) == 1
    said = capsys.readouterr()
    assert "no image definition 'debian-13-amd46'" in said.err
    assert "did you mean 'debian-13-amd64'?" in said.err
    assert said.out == ""


def test_stamping_without_an_image_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an image nothing is stamped; the message names the command that makes one."""
    config = tmp_path / "config.toml"
    config.write_text('[provisioning]\nsource = "standalone"\n')
    arguments = ["stamp", "some-image", "--out", str(tmp_path / "some-image"), "--name", "n"]
    assert cli.run([*arguments, "--config", str(config)]) == 1
    assert "run: skerry-factory build some-image" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("argument", ["key", "=file", "key="])
def test_a_secret_needs_name_and_file(
    argument: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--secret` wants NAME=FILE."""
    arguments = ["stamp", "i", "--config", "c", "--name", "n", "--secret", argument]
    assert cli.run([*arguments, "--out", str(tmp_path)]) == 1
    assert f"--secret {argument!r} is not NAME=FILE" in capsys.readouterr().err


def test_a_disk_without_key_cannot_be_logged_in_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`boot DISK --ssh` without a key is refused before anything starts."""
    disk = tmp_path / "device.qcow2"
    disk.touch()
    cache = ["--cache", str(tmp_path / "cache")]
    (tmp_path / "cache").mkdir()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "cache" / f"kvm-{boot_id}").write_text("no")
    assert cli.run(["boot", str(disk), "--ssh", *cache]) == 1
    assert "needs --key FILE" in capsys.readouterr().err


def test_what_the_system_refuses_is_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that cannot be made is told by name, without a traceback."""
    (tmp_path / "file").touch()
    assert cli.run(["build", "debian-13-amd64", "--out", str(tmp_path / "file/out")]) == 1
    assert f"skerry-factory: Not a directory: {tmp_path}/file/out" in capsys.readouterr().err


def test_results_can_be_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--output json` standard output holds one JSON value and nothing else."""
    assert cli.run(["deb", "--suite", "trixie", "--out", str(tmp_path), "--output", "json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)
