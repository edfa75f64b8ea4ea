"""`skerry-factory verify FOLDER --key PUB`: is an image as it was signed, and by whom.

Exit status: 0 good, 1 not (unsigned, another key, files missing, changed or too many), 2 usage.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "verify", _run, help="tell whether an image is as it was signed with a key"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the image")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="public key, PEM or OpenSSH"
    )


def _run(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from skerry_factory.signing.keys import load_public_key
    from skerry_factory.signing.seal import verify_folder

    verdict = verify_folder(options.folder, load_public_key(options.key))
    data = {"folder": str(options.folder), **asdict(verdict)}
    show_result(options, data, "\n".join(verdict.lines(options.folder)))
    return 0 if verdict.good else 1
