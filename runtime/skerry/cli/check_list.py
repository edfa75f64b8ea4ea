"""`skerry check-list`: the ids of all checks and what each looks at."""

import argparse
import json
import sys

from skerry.cli._options import add_output


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("check-list", help="list the checks")
    add_output(parser, "-o")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print category, id and description of every check."""
    from skerry.check.discover import all_checks
    from skerry.check.report import list_of
    from skerry.cli._text import columns

    rows = list_of(all_checks())
    if options.output == "json":
        names = ("category", "id", "description")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        sys.stdout.write(json.dumps({"checks": found}, indent=1) + "\n")
        return 0
    sys.stdout.write(columns(("CATEGORY", "ID", "DESCRIPTION"), rows))
    return 0
