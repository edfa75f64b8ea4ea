"""`skerry-factory deb`: writes the Debian package of the native runtime."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "deb", run, help="build the runtime's Debian package for one suite"
    )
    parser.add_argument(
        "--suite", default="trixie", help="Debian suite it is for (default: trixie)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/deb"), metavar="DIR", help="default: out/deb"
    )


def run(options: argparse.Namespace) -> int:
    """Build the package and say where it is."""
    import hashlib

    from skerry_factory.deb import build_deb

    path = build_deb(options.suite, options.out)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    show_result(options, {"file": str(path), "sha256": digest, "suite": options.suite}, str(path))
    return 0
