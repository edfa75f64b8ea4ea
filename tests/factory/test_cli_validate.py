"""`skerry-factory validate`: usage, and what is missing before anything is booted."""

from pathlib import Path

import pytest

from skerry_factory.cli import run


def test_without_a_target_it_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither image, disk nor host: exit status 2."""
    with pytest.raises(SystemExit) as ended:
        run(["validate"])
    assert ended.value.code == 2
    assert "one of the arguments ID|DISK --host is required" in capsys.readouterr().err


def test_two_targets_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """An image and a host at once: exit status 2."""
    with pytest.raises(SystemExit) as ended:
        run(["validate", "debian-13-amd64", "--host", "pump-station-7"])
    assert ended.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--identity-file", "--host-key"])
def test_a_missing_file_is_named_with_its_option(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A host needs a key and a pinned host key; the message says which option names them."""
    here = tmp_path / "here"
    here.touch()
    files = {"--identity-file": here, "--host-key": here, option: tmp_path / "absent"}
    options = [str(word) for pair in files.items() for word in pair]
    assert run(["validate", "--host", "pump-station-7", *options]) == 1
    said = capsys.readouterr().err
    assert said == (
        f"skerry-factory: {tmp_path}/absent does not exist; name the file with {option}\n"
    )


def test_an_unknown_image_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """What is neither a disk nor an image definition is refused with what there is."""
    assert run(["validate", "debian-13-amd65"]) == 1
    assert "did you mean 'debian-13-amd64'?" in capsys.readouterr().err
