"""`skerry-factory show ID`: a definition as it is built, each value with where it comes from."""

import argparse
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "show", _run, help="show a definition as it is built, and where each value is"
    )
    parser.add_argument("id", metavar="ID", help="the definition: a folder of images/linux")


def _run(options: argparse.Namespace) -> int:
    from skerry_factory.definition import find_file
    from skerry_factory.paths import Checkout
    from skerry_factory.shown import shown_values

    checkout = Checkout.of_package()
    values = shown_values(find_file(options.id, checkout), checkout.root)
    width = max(len(value.text) for value in values if len(value.text) < 60)
    lines = [f"{value.text:{width}}  # {value.source}" for value in values]
    show_result(options, {"values": [value.as_json() for value in values]}, "\n".join(lines))
    return 0
