"""`skerry-factory build ID`: builds the image of a definition."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skerry_factory.command_line import (
    add_cache_option,
    add_verb,
    progress_of_terminal,
    show_result,
)

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(subparsers, "build", _run, help="build the image of a definition")
    parser.add_argument("id", metavar="ID", help="the definition: a folder of images/linux")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the results (default: out/ID)"
    )
    add_cache_option(parser)
    parser.add_argument(
        "--mirror",
        metavar="URL",
        help="Debian mirror of this build only; it does not stay in the image",
    )
    parser.add_argument(
        "--refresh", action="store_true", help="fetch the packages anew even if they are cached"
    )


def _run(options: argparse.Namespace) -> int:
    from skerry_factory.build import build_image
    from skerry_factory.definition import find_definition
    from skerry_factory.paths import Checkout

    checkout = Checkout.of_package()
    definition = find_definition(options.id, checkout)
    out = options.out or checkout.output / definition.id
    result = build_image(
        definition,
        out,
        options.cache,
        progress_of_terminal(),
        options.mirror,
        refresh=options.refresh,
    )
    data = {
        "raw": str(result.raw),
        "qcow2": str(result.qcow2) if result.qcow2 else None,
        "manifest": str(result.manifest),
        "changed": result.changed,
    }
    show_result(options, data, str(result.raw))
    return 0
