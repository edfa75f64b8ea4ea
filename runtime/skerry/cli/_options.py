"""Options that many verbs have."""

import argparse


def add_output(parser: argparse.ArgumentParser, *flags: str) -> None:
    """Add `--output text|json`, and other flags for the same."""
    parser.add_argument(
        *flags,
        "--output",
        choices=("text", "json"),
        default="text",
        help="for people or for programs (default text)",
    )
