"""The `skerry` command: finds the verbs, parses the command line, makes errors exit statuses.

A verb is a module of this package with `register(subparsers)`, which adds one parser and sets its
default `run` to a function `(Namespace) -> int`, the exit status. Heavy imports belong in `run`: so
every invocation pays only for its own verb. A module whose name begins with `_` is no verb.
Exit status: 0 done, 1 failed or problems found, 2 usage. Data goes to standard output, talk to
standard error.
"""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import skerry.cli
from skerry import __version__
from skerry.base.program import run_program
from skerry.cli._iotedge import NAME, is_alias, translated, version


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every verb of the package, in alphabetical order."""
    parser = argparse.ArgumentParser(
        prog="skerry", description="Set up, look at and repair this appliance."
    )
    parser.add_argument("--version", action="version", version=f"skerry {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in sorted(pkgutil.iter_modules(skerry.cli.__path__), key=lambda found: found.name):
        if module.name != "main" and not module.name.startswith("_"):
            _register_of(module.name)(subparsers)
    return parser


def _register_of(name: str) -> Callable[[object], None]:
    register: Callable[[object], None] = importlib.import_module(f"skerry.cli.{name}").register
    return register


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; usage errors leave with status 2."""
    options = build_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    return run_program("skerry", lambda: command(options))


def run_alias(arguments: Sequence[str]) -> int:
    """Run one command line in the spelling of `iotedge`; returns its exit status."""

    def command() -> int:
        words, host = translated(arguments)
        if words == ["--version"]:
            sys.stdout.write(f"{version()}\n")
            return 0
        if host is not None:
            os.environ["SKERRY_HOST"] = host
        return run(words)

    return run_program(NAME, command)


def main() -> NoReturn:
    """Run as the console script, by whichever name."""
    sys.exit(run_alias(sys.argv[1:]) if is_alias(sys.argv[0]) else run())


if __name__ == "__main__":
    main()
