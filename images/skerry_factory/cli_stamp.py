"""`skerry-factory stamp`: the seed of one device, or those of a fleet, on copies of an image."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, progress_of_terminal, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers
    from skerry_factory.fleet.model import Fleet


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""

    def run(options: argparse.Namespace) -> int:
        return _run(parser, options)

    help = "write one device's seed, or those of a fleet, on copies of an image"
    parser = add_verb(subparsers, "stamp", run, help=help)
    parser.add_argument(
        "id", nargs="?", metavar="ID", help="the definition whose image is stamped for one device"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="config.toml of the device")
    parser.add_argument("--name", metavar="N", help="name of the device")
    parser.add_argument(
        "--fleet", type=Path, metavar="FILE", help="fleet.toml: many devices at once, without ID"
    )
    parser.add_argument(
        "--image", type=Path, metavar="DIR", help="folder of the fleet's image (default: out/ID)"
    )
    parser.add_argument(
        "--image-key",
        type=Path,
        metavar="FILE",
        help="public key that the image must be signed with; else nothing is stamped",
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="write the fleet's label sheet, a PDF"
    )
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
    parser.add_argument(
        "--format",
        choices=["qcow2", "raw", "seed"],
        help="an overlay, a disk to be flashed, or a USB stick's seed (default: qcow2)",
    )
    parser.add_argument("--size", metavar="SIZE", help="size of a qcow2 disk (default: 8GiB)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the image (default: out/ID), of a fleet its own (default: out/fleets/NAME)",
    )


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    needed = (options.id, options.config, options.name)
    chosen = (options.format, options.size, options.authorized_key, options.secret, options.network)
    if options.fleet is not None:
        if any(needed) or any(chosen):
            parser.error("--fleet goes with --image, --labels and --out; its file says the rest")
        return _stamp_fleet(options)
    if not all(needed):
        parser.error("give ID, --config and --name for one device, or --fleet FILE")
    if options.image is not None or options.labels is not None:
        parser.error("--image and --labels go with --fleet")
    return _stamp_one(options)


def _stamp_fleet(options: argparse.Namespace) -> int:
    from skerry_factory.fleet.definition import load_fleet
    from skerry_factory.fleet.material import system_world
    from skerry_factory.fleet.stamping import stamp_fleet
    from skerry_factory.paths import Checkout

    output = Checkout.of_package().output
    fleet = load_fleet(options.fleet)
    image = options.image or output / fleet.image
    _require_signature(image, options.image_key)
    out = options.out or output / "fleets" / fleet.name
    with progress_of_terminal().step("stamp", fleet.name) as step:
        done = stamp_fleet(fleet, image, out, system_world(), step)
        step.done_as(f"{len(done.made)} made, {done.unchanged} unchanged")
    if options.labels is not None:
        _write_labels(options.labels, fleet, out)
    data = {
        "folder": str(done.folder),
        "made": list(done.made),
        "unchanged": done.unchanged,
        "pending": list(done.pending),
    }
    text = f"{done.folder}: {len(done.made)} made, {done.unchanged} unchanged"
    if done.pending:
        text += f"; {len(done.pending)} cannot be enrolled yet: run skerry-factory collect"
    show_result(options, data, text)
    return 0


def _write_labels(file: Path, fleet: "Fleet", out: Path) -> None:
    from skerry_factory.fleet.labels import write_labels
    from skerry_factory.fleet.ledger import read_ledger

    with progress_of_terminal().step("labels", str(file)):
        entries = read_ledger(out)
        write_labels(file, [entries[device.id] for device in fleet.devices])


def _stamp_one(options: argparse.Namespace) -> int:
    from skerry_factory.definition import size_bytes
    from skerry_factory.paths import Checkout
    from skerry_factory.stamp import DEFAULT_SIZE_BYTES, Seed, stamp

    image = options.out or Checkout.of_package().output / options.id
    _require_signature(image, options.image_key)
    seed = Seed(
        device=options.name,
        config=options.config,
        authorized_keys=options.authorized_key,
        secrets=_secrets(options.secret),
        networks=options.network,
    )
    with progress_of_terminal().step("stamp", options.name) as step:
        size = size_bytes(options.size) if options.size else DEFAULT_SIZE_BYTES
        device = stamp(image, seed, disk_format=options.format or "qcow2", size_bytes=size)
        step.done_as(str(device.disk))
    data = {"disk": str(device.disk), "seed_digest": device.seed_digest}
    show_result(options, data, str(device.disk))
    return 0


def _require_signature(image: Path, key: Path | None) -> None:
    from skerry_factory.signing.keys import load_public_key
    from skerry_factory.signing.seal import require_good

    if key is not None:
        require_good(image, load_public_key(key))


def _secrets(arguments: list[str]) -> dict[str, Path]:
    from skerry_factory.errors import FactoryError

    found = {}
    for argument in arguments:
        name, equals, file = argument.partition("=")
        if not equals or not name or not file:
            raise FactoryError(f"--secret {argument!r} is not NAME=FILE")
        found[name] = Path(file)
    return found
