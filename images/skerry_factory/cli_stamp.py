"""`skerry-factory stamp ID --config FILE --name N`: one device's seed on a copy of an image."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, progress_of_terminal, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "stamp", _run, help="write one device's seed on a copy of an image"
    )
    parser.add_argument("id", metavar="ID", help="the definition whose image is stamped")
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="config.toml of the device"
    )
    parser.add_argument("--name", required=True, metavar="N", help="name of the device")
    parser.add_argument(
        "--authorized-key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="public SSH key of a person who may log in (repeatable)",
    )
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="file that config.toml names as file:///run/seed/secrets/NAME (repeatable)",
    )
    parser.add_argument(
        "--network",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="systemd-networkd file, used instead of DHCP (repeatable)",
    )
    parser.add_argument("--format", choices=["qcow2", "raw"], default="qcow2")
    parser.add_argument(
        "--size", default="8GiB", metavar="SIZE", help="size of a qcow2 disk (default: 8GiB)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the image (default: out/ID)"
    )


def _run(options: argparse.Namespace) -> int:
    from skerry_factory.definition import size_bytes
    from skerry_factory.paths import Checkout
    from skerry_factory.stamp import Seed, stamp

    image = options.out or Checkout.of_package().output / options.id
    seed = Seed(
        device=options.name,
        config=options.config,
        authorized_keys=options.authorized_key,
        secrets=_secrets(options.secret),
        networks=options.network,
    )
    with progress_of_terminal().step("stamp", options.name) as step:
        size = size_bytes(options.size)
        device = stamp(image, seed, disk_format=options.format, size_bytes=size)
        step.done_as(str(device.disk))
    data = {"disk": str(device.disk), "seed_digest": device.seed_digest}
    show_result(options, data, str(device.disk))
    return 0


def _secrets(arguments: list[str]) -> dict[str, Path]:
    from skerry_factory.errors import FactoryError

    found = {}
    for argument in arguments:
        name, equals, file = argument.partition("=")
        if not equals or not name or not file:
            raise FactoryError(f"--secret {argument!r} is not NAME=FILE")
        found[name] = Path(file)
    return found
