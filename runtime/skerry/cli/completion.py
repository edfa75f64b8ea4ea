"""`skerry completion SHELL`; the Debian package installs the same scripts."""

import argparse

from skerry.base.completion_verb import add_completion


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    from skerry.cli.main import build_parser

    add_completion(subparsers, build_parser)
