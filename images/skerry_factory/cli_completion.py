"""`skerry-factory completion SHELL`."""

import argparse

from skerry.base.completion_verb import add_completion


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    from skerry_factory.cli import build_parser

    add_completion(subparsers, build_parser)
