"""Completion scripts: every verb and option is there, and the shells understand them."""

import subprocess
from pathlib import Path

import pytest

import skerry_factory.cli
import skerry_lab.cli
from skerry.base.commands import Command, command_of
from skerry.base.completion import completion
from skerry.cli.main import build_parser, run

PROGRAMS = {
    "skerry": build_parser,
    "skerry-factory": skerry_factory.cli.build_parser,
    "skerry-lab": skerry_lab.cli.build_parser,
}
TREES = {name: command_of(build()) for name, build in PROGRAMS.items()}

BASH = """
source {script}
COMP_WORDS=({words} "{current}"); COMP_CWORD={place}
_skerry; echo "${{COMPREPLY[*]}}"
"""


def bash(tmp_path: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    script = tmp_path / "skerry"
    script.write_text(completion(TREES["skerry"], "bash"))
    *before, current = words
    text = BASH.format(script=script, words=" ".join(before), current=current, place=len(before))
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["skerry", "sup"], ["support-bundle"]),
        (["skerry", "config", "ap"], ["apply"]),
        (["skerry", "list", "--output", ""], ["text", "json"]),
        (["skerry", "system", "set-log-level", "d"], ["debug"]),
        (["skerry", "logs", "--since", ""], []),
        (["skerry", "support-bundle", "--include"], ["--include-edge-runtime-only"]),
        (["skerry", "support-bundle", "--within"], []),
    ],
    ids=lambda value: " ".join(value),
)
def test_bash_offers_what_may_follow(words: list[str], offered: list[str], tmp_path: Path) -> None:
    """Verbs, options and their values; files where only the user knows; nothing hidden."""
    assert bash(tmp_path, *words) == offered


@pytest.mark.parametrize("program", TREES)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_understands_its_script(program: str, shell: str, tmp_path: Path) -> None:
    """Its own parser finds no mistake, and every verb is in it."""
    script = tmp_path / "script"
    script.write_text(completion(TREES[program], shell))
    for command in TREES[program].commands:
        assert command.path[-1] in script.read_text()
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_offers_verbs_with_their_meaning(tmp_path: Path) -> None:
    """Word and description, as fish shows them."""
    script = tmp_path / "skerry.fish"
    script.write_text(completion(TREES["skerry"], "fish"))
    asked = f'source {script}; complete -C "skerry config a"'
    done = subprocess.run(
        ["fish", "--no-config", "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout == "apply\tput a configuration in force on this device\n"


def test_the_verb_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    """`skerry completion bash` is what the package installs."""
    assert run(["completion", "bash"]) == 0
    assert capsys.readouterr().out == completion(TREES["skerry"], "bash")
    with pytest.raises(SystemExit, match="2"):
        run(["completion", "tcsh"])


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_every_verb_says_what_it_does(tree: Command) -> None:
    """Help is what completion and man pages show, so no command goes without."""
    assert [command.path for command in tree.all() if not command.help] == []


def test_every_option_on_the_device_says_what_it_does() -> None:
    """A line for each option of `skerry`."""
    silent = [
        (command.path, option.flags)
        for command in TREES["skerry"].all()
        for option in command.options
        if not option.help
    ]
    assert silent == []
