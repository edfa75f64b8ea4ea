"""The `skerry-lab` command: finds the verbs, parses the command line, makes errors exit statuses.

A verb is a module of `skerry_lab.verbs` with `register(subparsers)`; its parsers set `run` to a
function `(Namespace) -> int`. Exit status: 0 done, 1 failed, 2 usage. Data goes to standard output,
talk to standard error.
"""

import argparse
import importlib
import pkgutil
from collections.abc import Callable, Sequence

import skerry
import skerry_lab.verbs
from skerry.base.program import run_program


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every verb, in alphabetical order."""
    parser = argparse.ArgumentParser(
        prog="skerry-lab",
        description="IoT Hub and DPS on one machine, for labs, tests and single sites.",
        epilog="start with: skerry-lab up --data ./lab --https-port 8443",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {skerry.__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in sorted(pkgutil.iter_modules(skerry_lab.verbs.__path__), key=lambda m: m.name):
        if not module.name.startswith("_"):
            importlib.import_module(f"skerry_lab.verbs.{module.name}").register(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; usage errors leave with status 2."""
    options = build_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    return run_program("skerry-lab", lambda: command(options))
