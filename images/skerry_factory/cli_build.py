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
    parser.add_argument(
        "--locked", action="store_true", help="take the packages of the definition's lock only"
    )
    parser.add_argument(
        "--offline", action="store_true", help="as --locked, in a namespace without a network"
    )
    parser.add_argument(
        "--why", action="store_true", help="tell why each step that is not cached has to run"
    )
    parser.add_argument(
        "--sign",
        metavar="KEY",
        help="sign all files: a private key (Ed25519, ECDSA), or a PKCS#11 URI",
    )
    parser.add_argument(
        "--pkcs11-library", metavar="FILE", help="library of the token that a PKCS#11 URI names"
    )


def _run(options: argparse.Namespace) -> int:
    from skerry_factory.build import build_image
    from skerry_factory.cache import Cache
    from skerry_factory.cli_plan import plan_text
    from skerry_factory.definition import find_definition
    from skerry_factory.evidence.writing import has_evidence, write_evidence
    from skerry_factory.paths import Checkout
    from skerry_factory.planning import plan_build
    from skerry_factory.signing.keys import load_signer
    from skerry_factory.signing.seal import sign_folder

    signer = load_signer(options.sign, options.pkcs11_library) if options.sign else None
    checkout = Checkout.of_package()
    definition = find_definition(options.id, checkout)
    out = options.out or checkout.output / definition.id
    progress = progress_of_terminal()
    if options.why:
        steps = plan_build(definition, Cache(options.cache.resolve()), checkout, options.mirror)
        progress.note(plan_text([step for step in steps if not step.cached]))
    result = build_image(
        definition,
        out,
        options.cache,
        progress,
        options.mirror,
        refresh=options.refresh,
        locked=options.locked,
        offline=options.offline,
    )
    if not has_evidence(out):
        with progress.step("evidence", "SBOM, provenance, size by package"):
            write_evidence(out, checkout)
    key = sign_folder(out, signer) if signer else None
    data = {
        "raw": str(result.raw),
        "qcow2": str(result.qcow2) if result.qcow2 else None,
        "manifest": str(result.manifest),
        "changed": result.changed,
        "signed_by": key,
    }
    show_result(options, data, str(result.raw))
    return 0
