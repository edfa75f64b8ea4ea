"""`skerry secret` against a running edged."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.docker_engine import DockerEngine, serving
from harness.edged import House
from skerry.cli.main import run


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A device in which `db` is declared, and waits for its value."""
    folder = tmp_path_factory.mktemp("house")
    with serving(DockerEngine(), folder / "docker.sock"):
        made = House(folder, f"unix://{folder / 'docker.sock'}")
        made.configure()
        current = folder / "edged" / "current"
        current.mkdir()
        table = {"secrets": {"db": {"tag": None, "sealed_by": "keyd"}}}
        (current / "vault.json").write_text(json.dumps(table))
        made.host_security()
        made.host()
        yield made
        made.stop()


@pytest.fixture(autouse=True)
def _host(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKERRY_HOST", f"unix://{house.folder / 'mgmt.sock'}")


def test_a_secret_is_set_listed_and_taken_back(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list says where a value comes from and never what it is."""
    (tmp_path / "value").write_text("swordfish\n")
    assert run(["secret", "set", "db", "--file", str(tmp_path / "value")]) == 0
    assert capsys.readouterr() == ("", "Set db\n")
    assert run(["secret", "list", "--output", "json"]) == 0
    known: dict[str, object] = {"name": "db", "origin": "hand", "sealedBy": "keyd"}
    known |= {"modules": [], "problem": None}
    assert json.loads(capsys.readouterr().out) == {"secrets": [known]}
    assert run(["secret", "remove", "db", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "db", "result": "removed"}
    assert "swordfish" not in house.log()


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """A declared secret without a value shows as such."""
    assert run(["secret", "list"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "VALUE", "FROM", "SEALED", "BY", "MODULES"]
    assert line.split() == ["db", "no", "value", "yet", "keyd", "-"]


def test_a_value_comes_from_standard_input(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bytes are taken as they are."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\0x\n")))
    assert run(["secret", "set", "raw"]) == 0
    assert house.edged is not None
    assert run(["secret", "remove", "raw"]) == 0
    assert capsys.readouterr() == ("", "Set raw\nRemoved raw\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["set", "db", "--file", "/none"], "/none cannot be read: No such file or directory"),
        (["set", "db", "--file", "/dev/null"], "the value has 0 bytes, expected 1 to 65536"),
        (["set", "db", "--file", "/dev/zero"], "the value has 65537 bytes, expected 1 to 65536"),
        (["remove", "db"], "no value of secret 'db' was given by hand"),
        (["set", "../db", "--file", "/etc/hostname"], "'../db' is no name of a secret"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, and the reason on standard error."""
    assert run(["secret", *arguments]) == 1
    assert message in capsys.readouterr().err
