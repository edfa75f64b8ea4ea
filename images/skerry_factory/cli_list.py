"""`skerry-factory list`: the image definitions of the checkout."""

import argparse
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    add_verb(subparsers, "list", _run, help="list the image definitions")


def _run(options: argparse.Namespace) -> int:
    from skerry_factory.definition import find_file, known_definitions, load_tables
    from skerry_factory.paths import Checkout

    checkout = Checkout.of_package()
    rows = []
    for name in known_definitions(checkout):
        layers, tables = load_tables(find_file(name, checkout))
        image = tables["image"]
        below = [layer.file.parent.name for layer in layers.files[1:]]
        facts = {key: image[key] for key in ("id", "suite", "arch", "formats")}
        rows.append({**facts, "extends": below})
    lines = [
        f"{row['id']:20}  {row['suite']:9} {row['arch']:6} {', '.join(row['formats'])}"
        + (f"  extends {', '.join(row['extends'])}" if row["extends"] else "")
        for row in rows
    ]
    show_result(options, {"definitions": rows}, "\n".join(lines))
    return 0
