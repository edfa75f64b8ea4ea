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


def extending(folder: Path, name: str, text: str) -> Path:
    """Write one more definition beside `box`."""
    (folder / name).mkdir()
    file = folder / name / "image.toml"
    file.write_text(text)
    return file


def refusal(file: Path) -> list[str]:
    with pytest.raises(DefinitionError) as refused:
        load_definition(file)
    return [problem.removeprefix(f"{file.parents[1]}/") for problem in refused.value.problems]


def test_a_variant_says_only_what_differs(tmp_path: Path) -> None:
    """Tables are merged, other values replaced; the overlay of what is extended comes first."""
    below = write(tmp_path, GOOD.replace("linux-image-amd64", "linux-image-{arch}"))
    variant = 'extends = "box"\n[image]\nid = "arm"\narch = "arm64"\n[system]\nusers = []\n'
    found = load_definition(extending(tmp_path, "arm", variant))
    assert (found.id, found.suite, found.users) == ("arm", "trixie", ())
    assert found.packages == ("linux-image-arm64",)
    assert found.overlays == (below.parent / "overlay", tmp_path / "arm/overlay")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'extends = "bx"',
            "arm/image.toml:1:11: extends: 'bx' is no definition; "
            "expected the id of a definition in {}; did you mean 'box'?",
        ),
        ("extends = 3", "arm/image.toml:1:11: extends: 3 is no definition"),
        (
            'extends = "arm"',
            "arm/image.toml:1:11: extends: arm → arm goes in a circle; "
            "expected a definition that ends the chain",
        ),
        ('extends = "box"\n[image]\nid = "arm"\narch = "vax"', "arm/image.toml:4:8: image.arch: "),
        ('extends = "box"\n[image]\narch = "arm64"', "arm/image.toml:2:2: image.id: missing"),
        ('extends = "box"\n[image]\nid = "arm"\n[disk]\nsize = "1GiB"', "arm/image.toml:5:8: disk"),
    ],
    ids=["unknown", "no name", "itself", "wrong value", "id is not taken over", "too small"],
)
def test_a_mistake_in_a_variant_is_located(tmp_path: Path, text: str, expected: str) -> None:
    """What a variant gets wrong stands in the variant's own file."""
    write(tmp_path, GOOD)
    (problem,) = refusal(extending(tmp_path, "arm", text))
    assert problem.startswith(expected.format(tmp_path))


def test_a_mistake_below_a_variant_is_located_there(tmp_path: Path) -> None:
    """What the variant takes over is wrong where it is written."""
    write(tmp_path, GOOD.replace('"seal"', '"Seal"'))
    (problem,) = refusal(extending(tmp_path, "arm", 'extends = "box"\n[image]\nid = "arm"'))
    assert problem.startswith("box/image.toml:11:16: roles.run[1]: 'Seal' does not fit")


def test_a_circle_of_three_is_refused(tmp_path: Path) -> None:
    """The way of the circle is told at the definition that closes it."""
    write(tmp_path, 'extends = "two"')
    extending(tmp_path, "two", 'extends = "one"')
    (problem,) = refusal(extending(tmp_path, "one", 'extends = "box"'))
    assert problem.startswith(
        "two/image.toml:1:11: extends: one → box → two → one goes in a circle"
    )
