"""Man pages: one for every verb, all that there is in them, and no complaint of their readers."""

import gzip
import subprocess
from pathlib import Path

import pytest

from skerry.base.commands import command_of
from skerry.cli.main import build_parser
from skerry_factory.manual import pages

TREE = command_of(build_parser())
PAGES = {name: gzip.decompress(data).decode() for name, data in pages(TREE).items()}


def test_every_verb_has_its_page() -> None:
    """And the program's own page names them all."""
    verbs = [command.path[-1] for command in TREE.commands]
    assert set(PAGES) == {"skerry.1.gz", *(f"skerry-{verb}.1.gz" for verb in verbs)}
    for verb in verbs:
        assert f"skerry\\-{verb.replace('-', chr(92) + '-')}\\fR(1)" in PAGES["skerry.1.gz"]


@pytest.mark.parametrize("verb", TREE.commands, ids=lambda verb: str(verb.path[-1]))
def test_a_page_tells_every_command_and_option(verb: object) -> None:
    """What the command line takes is on the page of its verb."""
    for command in TREE.commands:
        if command is not verb:
            continue
        page = PAGES[f"skerry-{command.path[-1]}.1.gz"].replace("\\-", "-")
        for below in command.all():
            assert " ".join(below.path) in page or below.commands
            for option in below.options:
                wanted = () if below.commands or "--help" in option.flags else option.flags
                assert [flag for flag in wanted if flag not in page] == []


@pytest.mark.parametrize("name", PAGES)
def test_the_readers_of_man_pages_have_no_complaint(name: str, tmp_path: Path) -> None:
    """`man --warnings` and `mandoc -T lint` are silent."""
    path = tmp_path / name.removesuffix(".gz")
    path.write_text(PAGES[name])
    checkers = (
        ["man", "--warnings", "--encoding=UTF-8", "--local-file", str(path)],
        ["mandoc", "-T", "lint", "-W", "warning", str(path)],
    )
    for checker in checkers:
        done = subprocess.run(
            checker,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
        )
        assert done.stderr == ""
        assert checker[0] == "man" or done.stdout == ""


def test_the_same_pages_every_time() -> None:
    """No time and no name of a file is in them."""
    assert pages(TREE) == pages(TREE)
