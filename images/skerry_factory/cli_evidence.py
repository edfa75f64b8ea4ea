"""`skerry-factory evidence ID|DIR`: writes what is in an image, and what is known against it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, progress_of_terminal, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "evidence", _run, help="write SBOM, vulnerabilities and origin of an image"
    )
    parser.add_argument("image", metavar="ID|DIR", help="a definition that was built, or a folder")
    parser.add_argument(
        "--feed",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="JSON of Debian's security tracker, or OSV; may be given more than once",
    )
    parser.add_argument(
        "--validation",
        type=Path,
        metavar="DIR",
        help="report of `validate` (default: out/validate/ID)",
    )
    parser.add_argument("--sign", metavar="KEY", help="sign the image and its evidence; see build")
    parser.add_argument(
        "--pkcs11-library", metavar="FILE", help="library of the token that a PKCS#11 URI names"
    )


def _run(options: argparse.Namespace) -> int:
    from skerry_factory.definition import find_definition
    from skerry_factory.evidence.vulnerabilities import Feed
    from skerry_factory.evidence.writing import write_evidence
    from skerry_factory.paths import Checkout
    from skerry_factory.signing.keys import load_signer
    from skerry_factory.signing.seal import sign_folder

    signer = load_signer(options.sign, options.pkcs11_library) if options.sign else None
    feeds = [Feed.read(file) for file in options.feed]
    checkout = Checkout.of_package()
    image = Path(options.image)
    if not image.is_dir():
        image = checkout.output / find_definition(options.image, checkout).id
    validation = options.validation or checkout.output / "validate" / image.name
    with progress_of_terminal().step("evidence", image.name) as step:
        made = write_evidence(image, checkout, feeds, validation)
        step.done_as(f"vulnerabilities: {made.summary['vulnerabilities']['state']}")
    key = sign_folder(image, signer) if signer else None
    data = {"page": str(made.page), "signed_by": key, "summary": made.summary}
    show_result(options, data, str(made.page))
    return 0
