"""`skerry restart MODULE`: stop a module and start it again."""

import argparse
import sys


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("restart", help="restart a module")
    parser.add_argument("module", metavar="MODULE")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Restart a module."""
    from skerry.cli._edged import edged

    with edged() as service:
        service.restart(options.module)
    sys.stdout.write(f"Restarted {options.module}\n")
    return 0
