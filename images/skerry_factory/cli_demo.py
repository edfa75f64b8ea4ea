"""`skerry-factory demo`: from the image definition to a validated appliance, in one table."""

import argparse
import sys
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

IMAGE = "debian-13-amd64"
DEVICE = "demo"
NEXT = """\
Next: skerry-factory boot {image} --ssh      a shell in the appliance
      $EDITOR {config} && make demo     your own device"""


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers,
        "demo",
        run,
        help="build, stamp, boot and check an appliance; leaves nothing running",
    )
    parser.add_argument(
        "--identity",
        choices=("tpm", "standalone"),
        default="tpm",
        help="how the device comes by its identity: by its TPM and the DPS of a lab cloud on this "
        "machine (default), or as its config.toml says",
    )
    parser.add_argument("--image", default=IMAGE, metavar="ID", help=f"default: {IMAGE}")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="config.toml of the device (default: examples/config.toml)",
    )
    parser.add_argument(
        "--name", metavar="N", help=f"of the device (default: its hostname, else {DEVICE})"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="of the image (default: out/ID)")
    add_cache_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the demonstration; exit status 1 when a step failed."""
    from skerry_factory.definition import find_definition
    from skerry_factory.demo import Method, Patience, run_demo, table
    from skerry_factory.demo_parts import RealParts
    from skerry_factory.paths import Checkout
    from skerry_factory.validate import shown

    checkout = Checkout.of_package()
    config = options.config or checkout.root / "examples" / "config.toml"
    hostname = _hostname(config)
    progress = progress_of_terminal()
    parts = RealParts(
        definition=find_definition(options.image, checkout),
        method=Method(options.identity),
        config=config,
        device=options.name or hostname or DEVICE,
        out=options.out or checkout.output / options.image,
        cache=options.cache,
        folder=checkout.output / "demo",
        progress=progress,
    )
    demo = run_demo(parts, progress, Patience())
    told = table(demo.rows)
    if demo.done:
        told += "\n" + NEXT.format(image=options.image, config=shown(config))
    show_result(options, demo.as_json(), told)
    if not demo.done:
        said = "".join(f"\n    {line}" for line in demo.console.splitlines())
        sys.stderr.write(f"skerry-factory: {demo.problem}\n")
        sys.stderr.write(f"  the last lines of the console:{said}\n" if said else "")
    return 0 if demo.done else 1


def _hostname(config: Path) -> str | None:
    """Return the host name of a configuration; one with problems is refused before the build."""
    from skerry.config.document import read
    from skerry_factory.errors import DefinitionError, FactoryError

    if not config.is_file():
        raise FactoryError(f"{config}: no such file")
    document = read(config.read_bytes(), str(config))
    if document.problems:
        problems = [str(problem) for problem in document.problems]
        raise DefinitionError(problems, "nothing was built")
    name = document.tables.get("hostname")
    return name if isinstance(name, str) else None
