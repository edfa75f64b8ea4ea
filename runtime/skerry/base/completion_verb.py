"""`<program> completion SHELL`: the verb that every command of Skerry has."""

import argparse
import sys
from collections.abc import Callable

SHELLS = ("bash", "zsh", "fish")
"""Named here: the scripts are loaded only when one is asked for."""


def add_completion(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
    build_parser: Callable[[], argparse.ArgumentParser],
) -> None:
    """Add the verb to a program with this parser."""
    parser = subparsers.add_parser(
        "completion", help="print the completion of this command for a shell"
    )
    parser.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS))
    parser.set_defaults(run=lambda options: _print(options.shell, build_parser))


def _print(shell: str, build_parser: Callable[[], argparse.ArgumentParser]) -> int:
    from skerry.base.commands import command_of
    from skerry.base.completion import completion

    sys.stdout.write(completion(command_of(build_parser()), shell))
    return 0
