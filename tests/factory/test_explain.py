"""What a person learns of definitions without building: list, show, explain."""

import json
from pathlib import Path

import pytest

from skerry_factory import cli
from skerry_factory.image_schema import filled, keys, load_schema
from skerry_factory.shown import shown_values

BOX = """\
[image]
id = "box"
suite = "trixie"
arch = "amd64"
[disk]
size = "3GiB"
[system]
users = [{ name = "tech" }]
[roles]
run = ["seal"]
"""


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert cli.run([*arguments, "--output", "json"]) == 0
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


def test_every_key_is_documented() -> None:
    """Whoever adds a key says what it is for, and whether it must be given or has a default."""
    assert [key.path for key in keys(load_schema()) if not key.description] == []
    without = {key.path for key in keys(load_schema()) if not key.required and key.default is None}
    interface, proxy = "system.network.interfaces[].", "system.network.proxy."
    optional = {f"{interface}{name}" for name in ("gateway", "vlan", "on")}
    optional |= {f"{proxy}{name}" for name in ("http", "https", "except")}
    assert without == {"extends", "image.mirror", *optional}


def test_defaults_reach_into_tables_of_arrays() -> None:
    """What is not given is filled in at every depth; what is given stays."""
    tables = filled({"system": {"users": [{"name": "tech"}]}}, load_schema())
    assert tables["system"]["users"] == [{"name": "tech", "groups": [], "ssh_authorized_keys": []}]
    assert (tables["system"]["network"]["dhcp"], tables["containers"]["preload"]) == (True, [])
    assert "image" not in tables


def test_each_value_is_shown_with_its_source(tmp_path: Path) -> None:
    """The file and line of a value is where it is written; else it is the default."""
    for name, text in (("box", BOX), ("variant", 'extends = "box"\n[image]\nid = "variant"\n')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image.toml").write_text(text)
    values = {one.key: one for one in shown_values(tmp_path / "variant/image.toml", tmp_path)}
    assert values["image.id"].text == 'image.id = "variant"'
    assert values["image.id"].source == "variant/image.toml:3"
    assert values["disk.size"].source == "box/image.toml:6"
    assert (values["disk.root"].value, values["disk.root"].source) == ("2GiB", "default")


def test_the_list_tells_what_extends_what(capsys: pytest.CaptureFixture[str]) -> None:
    """Every definition of the repository is listed."""
    rows = {row["id"]: row for row in said(capsys, "list")["definitions"]}  # type: ignore[attr-defined]
    assert rows["debian-13-arm64"]["extends"] == ["debian-13-amd64"]
    assert rows["debian-13-arm64"]["arch"] == "arm64"


def test_show_speaks_of_the_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    """Sources are relative to the checkout."""
    assert cli.run(["show", "debian-13-arm64"]) == 0
    assert "# images/linux/debian-13-arm64/image.toml:6" in capsys.readouterr().out


def test_a_key_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """Type, meaning and default of one key."""
    assert cli.run(["explain", "disk.root"]) == 0
    assert capsys.readouterr().out == (
        "disk.root (string)\n    Size of the partition of the OS.\n"
        "    Expected: a size such as '4GiB' or '512MiB'.\n    Default: \"2GiB\"\n"
    )


@pytest.mark.parametrize(
    ("wanted", "meant"), [("disk.rot", "disk.root"), ("packages", "system.packages")]
)
def test_an_unknown_key_names_the_nearest(
    wanted: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped key, or one without its table, ends with 1 and what was meant."""
    assert cli.run(["explain", wanted]) == 1
    assert f"no key {wanted!r}; did you mean {meant!r}?" in capsys.readouterr().err


def test_a_table_is_all_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """Naming a table explains what is in it, and nothing beside it."""
    found = said(capsys, "explain", "system.users")["keys"]
    assert [key["path"].removeprefix("system.users[].") for key in found] == [  # type: ignore[attr-defined]
        "name",
        "groups",
        "ssh_authorized_keys",
    ]
