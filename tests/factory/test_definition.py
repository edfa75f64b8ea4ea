"""image.toml: what it means, and every mistake in it at its place."""

from pathlib import Path

import pytest

from skerry_factory.definition import find_definition, load_definition
from skerry_factory.errors import DefinitionError, FactoryError
from skerry_factory.paths import Checkout

GOOD = """\
[image]
id = "box"
suite = "trixie"
arch = "amd64"
[disk]
size = "3GiB"
[system]
packages = ["linux-image-amd64"]
users = [{ name = "tech", groups = ["sudo"] }]
[roles]
run = ["base", "seal"]
vars = { base_motd = "hello" }
"""


def write(folder: Path, text: str) -> Path:
    (folder / "box").mkdir(exist_ok=True)
    file = folder / "box" / "image.toml"
    file.write_text(text)
    return file


def problems_of(folder: Path, text: str) -> list[str]:
    file = write(folder, text)
    with pytest.raises(DefinitionError) as refused:
        load_definition(file)
    return [problem.removeprefix(f"{file}:") for problem in refused.value.problems]


def test_every_field_has_a_value(tmp_path: Path) -> None:
    """What the file leaves out has its default in the loaded definition."""
    found = load_definition(write(tmp_path, GOOD))
    assert (found.disk_bytes, found.root_bytes) == (3 << 30, 2 << 30)
    assert (found.hostname, found.timezone, found.dhcp) == ("{serial}", "UTC", True)
    assert found.formats == ("raw", "qcow2")
    assert found.users[0].groups == ("sudo",)
    assert found.role_vars == {"base_motd": "hello"}


def test_the_definitions_of_the_repository_load() -> None:
    """Every definition that is shipped is valid."""
    checkout = Checkout.of_package()
    names = [file.parent.name for file in checkout.definitions.glob("*/image.toml")]
    assert [find_definition(name, checkout).id for name in names] == names
    assert names


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('suite = "trixie"', 'suite = "trixy"', "3:9: image.suite: 'trixy' is not a choice"),
        ('arch = "amd64"', 'arhc = "amd64"', "4:1: image.arhc: unknown key; did you mean 'arch'?"),
        ('size = "3GiB"', 'size = "3GB"', "6:8: disk.size: '3GB' does not fit; expected a size"),
        ('size = "3GiB"', 'size = "1GiB"', "6:8: disk.size: '1GiB' is too small"),
        ('size = "3GiB"', 'size = "3GiB"\nlayout = "ab"', "7:10: disk.layout: 'ab' is not supp"),
        ('id = "box"', 'id = "bx"', "2:6: image.id: 'bx'; expected the name of its folder, 'box'"),
        ("[roles]", "[rolls]", "rolls: unknown table; did you mean 'roles'?"),
        ('"linux-image-amd64"', '"Linux"', "8:13: system.packages[0]: 'Linux' does not fit"),
        ('name = "tech"', 'nam = "tech"', "did you mean 'name'?"),
        ('run = ["base", "seal"]', "run = []", "11:7: roles.run: the array is empty"),
        ('id = "box"', 'id = "box', "no TOML"),
    ],
    ids=[
        "unknown suite",
        "mistyped key",
        "wrong unit",
        "too small",
        "layout that is not built",
        "id unlike folder",
        "mistyped table",
        "no package name",
        "mistyped key in an array",
        "no roles",
        "no TOML",
    ],
)
def test_a_mistake_is_located(tmp_path: Path, before: str, after: str, expected: str) -> None:
    """A wrong value is reported with line, column, key and what was expected."""
    assert any(
        expected in problem for problem in problems_of(tmp_path, GOOD.replace(before, after))
    )


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """Three mistakes are three problems, in the order of the file."""
    text = GOOD.replace("trixie", "sid").replace("3GiB", "3").replace('"seal"', '"Seal"')
    lines = [int(problem.split(":")[0]) for problem in problems_of(tmp_path, text)]
    assert lines == [3, 6, 11]


def test_an_unknown_definition_lists_the_known(tmp_path: Path) -> None:
    """Without a near name the message lists what there is."""
    (tmp_path / "images/linux/box").mkdir(parents=True)
    (tmp_path / "images/linux/box/image.toml").write_text(GOOD)
    with pytest.raises(FactoryError, match="expected one of box"):
        find_definition("windows", Checkout(tmp_path))
