"""The examples give the answers that their README documents."""

import re
import tomllib
from pathlib import Path

import pytest

from skerry import __version__
from skerry.config.document import read
from skerry_factory.fleet.definition import load_fleet
from skerry_factory.fleet.material import Material
from skerry_factory.fleet.seeds import Seeds

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROW = re.compile(r"^\| `(?P<file>[\w.-]+\.toml)` \|.*\| (?P<answer>[^|]+) \|$", re.MULTILINE)
ANSWERS = {row["file"]: row["answer"] for row in ROW.finditer((EXAMPLES / "README.md").read_text())}


def test_every_example_is_documented() -> None:
    """The table of the README names every example, and no other."""
    assert set(ANSWERS) == {path.name for path in EXAMPLES.glob("*.toml")}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_example_gives_the_documented_answer(name: str) -> None:
    """An accepted example has neither problems nor warnings, a refused one has its one problem."""
    document = read((EXAMPLES / name).read_bytes(), name)
    assert document.warnings == ()
    messages = [problem.message for problem in document.problems]
    verdict, _, reason = ANSWERS[name].partition(": ")
    assert (verdict, messages) == (("refused", [reason]) if reason else ("accepted", []))


def test_the_examples_use_images_of_this_version() -> None:
    """A reference to an image of ours has this version as its tag, as the factory gives it."""
    texts = map(_text, [*ANSWERS, "fleet/config.toml"])
    used = set(re.findall(r"localhost/skerry/[\w-]+:([\w.]+)", "".join(texts)))
    assert used == {__version__}


def test_the_fleet_can_be_stamped() -> None:
    """The example fleet and its table load, and each device's configuration is accepted."""
    fleet = load_fleet(EXAMPLES / "fleet" / "fleet.toml")
    seeds = Seeds(fleet)
    for device in fleet.devices:
        assert "manifest.json" in seeds.files(device, Material())


def test_the_demonstration_configures_the_sample_sensor() -> None:
    """`examples/config.toml` has the workload that the demonstration waits for."""
    tables = tomllib.loads(_text("config.toml"))
    assert "sample-sensor" in tables["modules"]


def _text(name: str) -> str:
    return (EXAMPLES / name).read_text()
