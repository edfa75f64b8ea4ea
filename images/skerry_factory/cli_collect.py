"""`skerry-factory collect FLEET`: endorsement keys of a fleet, over SSH or from seed sticks."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, progress_of_terminal, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers
    from skerry_factory.fleet.collect import Collected, Told
    from skerry_factory.fleet.model import Fleet, FleetDevice

USER = "tech"
PORT = 22


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "collect", run, help="gather the TPM endorsement keys of a fleet into its table"
    )
    parser.add_argument("fleet", type=Path, metavar="FLEET", help="fleet.toml")
    parser.add_argument(
        "--stick",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="read a seed that came back: its folder, image or disk (repeatable); asks no device",
    )
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="ID=HOST[:PORT]",
        help="ask this device there (repeatable; default: all without a key, at their address)",
    )
    parser.add_argument("--user", default=USER, help=f"administrator (default: {USER})")
    parser.add_argument(
        "--identity-file",
        type=Path,
        default=Path.home() / ".ssh" / "id_ed25519",
        metavar="FILE",
        help="private key to log in with (default: ~/.ssh/id_ed25519)",
    )
    parser.add_argument(
        "--host-key",
        type=Path,
        default=Path.home() / ".ssh" / "known_hosts",
        metavar="FILE",
        help="known_hosts file that names the hosts' keys (default: ~/.ssh/known_hosts)",
    )


def run(options: argparse.Namespace) -> int:
    """Collect; ends with 1 when a device or stick gave no key."""
    from skerry_factory.fleet.collect import read_sticks
    from skerry_factory.fleet.definition import load_fleet

    fleet = load_fleet(options.fleet)
    with progress_of_terminal().step("collect", fleet.name) as step:
        found = read_sticks(fleet, options.stick) if options.stick else _ask(fleet, options)
        step.done_as(f"{len(found.collected)} new")
    data = {"collected": list(found.collected), "failed": dict(found.failed)}
    lines = [f"{name}: {reason}" for name, reason in found.failed.items()]
    summary = f"{len(found.collected)} new endorsement keys, {len(found.failed)} failed"
    show_result(options, data, "\n".join([*lines, summary]))
    return 1 if found.failed else 0


def _ask(fleet: "Fleet", options: argparse.Namespace) -> "Collected":
    from skerry_factory.fleet.collect import ask_devices, ask_over_ssh
    from skerry_factory.ssh import Target

    places = _places(fleet, options.host)

    def ask(device: "FleetDevice") -> "Told":
        host, port = places[device.id]
        target = Target(host, port, options.user, options.identity_file, options.host_key)
        return ask_over_ssh(target)

    return ask_devices(fleet, [d for d in fleet.devices if d.id in places], ask)


def _places(fleet: "Fleet", given: list[str]) -> dict[str, tuple[str, int]]:
    """Return host and port of each device that is to be asked."""
    from skerry_factory.errors import FactoryError

    if not given:
        return {
            device.id: (str(device.address.ip) if device.address else device.hostname, PORT)
            for device in fleet.devices
            if not device.endorsement_key
        }
    known, places = {device.id for device in fleet.devices}, {}
    for argument in given:
        name, _, place = argument.partition("=")
        host, colon, port = place.partition(":")
        if name not in known or not host or (colon and not port.isdecimal()):
            raise FactoryError(
                f"--host {argument!r} is not ID=HOST or ID=HOST:PORT of a device of the fleet"
            )
        places[name] = (host, int(port) if port else PORT)
    return places
