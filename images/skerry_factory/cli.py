"""The `skerry-factory` command: finds the verbs, parses the command line, maps errors to statuses.

A verb is a module `cli_<verb>.py` of this package with `register(subparsers)`, which adds one
parser (usually through `command_line.add_verb`) and sets its default `run` to a function
`(Namespace) -> int`, the exit status. Heavy imports belong inside `run`.
Exit status: 0 done, 1 failed or problems found, 2 usage.
Data goes to standard output, talk to standard error.
"""

import argparse
import importlib
import pkgutil
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

import skerry_factory
from skerry.base.program import run_program
from skerry_factory import __version__

PREFIX = "cli_"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every verb of the package, in alphabetical order."""
    parser = argparse.ArgumentParser(
        prog="skerry-factory", description="Build, stamp, boot and check images of appliances."
    )
    parser.add_argument("--version", action="version", version=f"skerry-factory {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for found in sorted(pkgutil.iter_modules(skerry_factory.__path__), key=lambda item: item.name):
        if found.name.startswith(PREFIX):
            importlib.import_module(f"skerry_factory.{found.name}").register(subparsers)
    return parser


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; usage errors leave with status 2."""
    options = build_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    return run_program("skerry-factory", lambda: command(options))


def main() -> NoReturn:
    """Run as the console script; an ended terminal or `kill` cleans up as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    sys.exit(run())


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
