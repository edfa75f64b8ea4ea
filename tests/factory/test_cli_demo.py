"""`skerry-factory demo`: what is wrong with its arguments is said before anything is built."""

from pathlib import Path

import pytest

from skerry_factory.cli import run


def test_a_wrong_configuration_is_refused_before_the_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every problem is told with its place, exit status 1, and nothing is built."""
    config = tmp_path / "config.toml"
    config.write_text("hostname = 7\n[provisionin]\nsource = 'standalone'\n")
    out, cache = tmp_path / "out", tmp_path / "cache"
    options = ["--config", str(config), "--out", str(out), "--cache", str(cache)]
    assert run(["demo", *options]) == 1
    said = capsys.readouterr().err
    assert f"{config}:1:" in said
    assert "did you mean 'provisioning'?" in said
    assert "nothing was built" in said
    assert not out.exists()
    assert not cache.exists()


def test_a_missing_configuration_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there is named."""
    assert run(["demo", "--config", str(tmp_path / "absent.toml")]) == 1
    assert capsys.readouterr().err == f"skerry-factory: {tmp_path}/absent.toml: no such file\n"


def test_an_unknown_image_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """An image definition that does not exist is refused with the nearest name."""
    assert run(["demo", "--image", "debian-13-amd"]) == 1
    assert "did you mean 'debian-13-amd64'?" in capsys.readouterr().err
