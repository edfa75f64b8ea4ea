"""Options that many verbs have, and what those say that do something."""

import argparse
import json
import sys


def add_output(parser: argparse.ArgumentParser, *flags: str) -> None:
    """Add `--output text|json`, and other flags for the same."""
    parser.add_argument(
        *flags,
        "--output",
        choices=("text", "json"),
        default="text",
        help="for people or for programs (default text)",
    )


def say(options: argparse.Namespace, text: str, table: dict[str, object]) -> None:
    """Tell what was done: people on standard error, so that pipes stay clean, programs as JSON."""
    if options.output == "json":
        sys.stdout.write(json.dumps(table) + "\n")
    else:
        sys.stderr.write(f"{text}\n")
