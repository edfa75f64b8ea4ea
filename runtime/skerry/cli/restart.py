"""`skerry restart MODULE`: stop a module and start it again."""

import argparse
import json
import sys

from skerry.cli._options import add_output


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("restart", help="restart a module")
    parser.add_argument("module", metavar="MODULE")
    add_output(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Restart a module."""
    from skerry.cli._edged import edged

    with edged() as service:
        service.restart(options.module)
    done = json.dumps({"module": options.module, "result": "restarted"})
    text = f"Restarted {options.module}"
    sys.stdout.write((done if options.output == "json" else text) + "\n")
    return 0
