"""`skerry list`: the modules of this device and how they are."""

import argparse
import json
import sys

from skerry.cli._options import add_output


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("list", help="list the modules of this device")
    add_output(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the modules by name."""
    from skerry.base.clock import SystemClock
    from skerry.cli._edged import edged
    from skerry.cli._text import by_name, columns, row

    with edged() as service:
        found = by_name(service.modules())
    if options.output == "json":
        sys.stdout.write(json.dumps({"modules": found}, indent=1) + "\n")
        return 0
    now = SystemClock().now()
    rows = [row(module, now) for module in found]
    lines = [(entry.name, entry.status, entry.description, entry.image) for entry in rows]
    sys.stdout.write(columns(("NAME", "STATUS", "DESCRIPTION", "CONFIG"), lines))
    return 0
