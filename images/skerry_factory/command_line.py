"""What the verbs of `skerry-factory` share: common options, folders, and how results are shown."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from skerry_factory.progress import Progress

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Run = Callable[[argparse.Namespace], int]


def add_verb(
    subparsers: "Subparsers", name: str, run: Run, *, help: str
) -> argparse.ArgumentParser:
    """Add one verb with `--output`; its `run` gets the options and returns the exit status."""
    parser = subparsers.add_parser(name, help=help, description=help)
    parser.add_argument(
        "--output",
        choices=["text", "json"],
        default="text",
        help="form of the result (default: text)",
    )
    parser.set_defaults(run=run)
    return parser


def add_cache_option(parser: argparse.ArgumentParser) -> None:
    """Add `--cache DIR`, whose default is the operator's cache folder."""
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        metavar="DIR",
        help="folder of cached build steps",
    )


def default_cache() -> Path:
    """Return `$SKERRY_CACHE`, else `~/.cache/skerry`."""
    named = os.environ.get("SKERRY_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "skerry"


def show_result(options: argparse.Namespace, data: Mapping[str, object], text: str) -> None:
    """Write the result to standard output in the form asked for; `text` may be empty."""
    if options.output == "json":
        sys.stdout.write(json.dumps(data, indent=2, sort_keys=True) + "\n")
    elif text:
        sys.stdout.write(text.rstrip("\n") + "\n")


def progress_of_terminal() -> Progress:
    """Return the display that suits standard error: live lines on a terminal, else plain ones."""
    live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    colour = live and not os.environ.get("NO_COLOR")
    return Progress(sys.stderr, live=live, colour=colour)
