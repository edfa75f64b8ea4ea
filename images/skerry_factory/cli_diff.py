"""`skerry-factory diff A B`: what differs between two images, without mounting either.

Exit status, as of diff(1): 0 the same, 1 different, 2 they cannot be compared, or wrong usage.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers

TROUBLE = 2


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "diff", _run, help="tell what differs between two images: 0 same, 1 different"
    )
    what = "folder of a build, disk (raw, raw.zst, qcow2, vhdx, vmdk), tar archive, or tree"
    parser.add_argument("before", type=Path, metavar="A", help=what)
    parser.add_argument("after", type=Path, metavar="B", help="the image to compare it with")


def _run(options: argparse.Namespace) -> int:
    from skerry.base.errors import SkerryError
    from skerry_factory.contents.opening import opened
    from skerry_factory.diff.compare import compare
    from skerry_factory.diff.report import as_json, as_text

    try:
        with opened(options.before) as before, opened(options.after) as after:
            changes = compare(before, after)
    except SkerryError as error:
        sys.stderr.write(f"skerry-factory: {error}\n")
        return TROUBLE
    show_result(options, as_json(changes), as_text(changes))
    return 1 if changes else 0
