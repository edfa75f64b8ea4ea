"""`skerry-factory validate`: the appliance checks, on a running host or on a stamped disk."""

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
    from skerry_factory.progress import Progress
    from skerry_factory.session import BootRequest
    from skerry_factory.validate import Validation

USER = "tech"


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "validate", run, help="check an appliance: a table, and a report as a page"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "disk",
        nargs="?",
        metavar="ID|DISK",
        help="an image, stamped with a key of its own, or the disk of a stamped device",
    )
    what.add_argument("--host", metavar="HOST", help="a host that runs already, over SSH")
    parser.add_argument("--port", type=int, default=22, help="SSH port of the host (default: 22)")
    parser.add_argument("--user", default=USER, help=f"administrator (default: {USER})")
    parser.add_argument(
        "--identity-file",
        type=Path,
        metavar="FILE",
        help="private key to log in with (default: ~/.ssh/id_ed25519)",
    )
    parser.add_argument(
        "--host-key",
        type=Path,
        metavar="FILE",
        help="known_hosts file that names the host's key (default: ~/.ssh/known_hosts)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="config.toml that an image is stamped with (default: examples/config.toml)",
    )
    add_cache_option(parser)
    parser.add_argument("--report", type=Path, metavar="DIR", help="default: out/validate/NAME")


def run(options: argparse.Namespace) -> int:
    """Run the checks; exit status 1 when the appliance is not valid."""
    from skerry_factory.validate import table

    progress = progress_of_terminal()
    validation = _host(options, progress) if options.host else _disk(options, progress)
    show_result(options, validation.as_json(), table(validation))
    return 0 if validation.valid else 1


def _report(options: argparse.Namespace, name: str) -> Path:
    from skerry_factory.paths import Checkout

    chosen: Path | None = options.report
    return chosen or Checkout.of_package().output / "validate" / name


def _host(options: argparse.Namespace, progress: "Progress") -> "Validation":
    from skerry_factory.ssh import Target
    from skerry_factory.validate import validate

    target = Target(
        options.host,
        options.port,
        options.user,
        _existing(options.identity_file or _ssh_folder() / "id_ed25519", "--identity-file"),
        _existing(options.host_key or _ssh_folder() / "known_hosts", "--host-key"),
    )
    with progress.step("validate", options.host) as step:
        report = _report(options, options.host)
        return validate(target, report, appliance=options.host, waits_for=step.waits_for)


def _disk(options: argparse.Namespace, progress: "Progress") -> "Validation":
    from contextlib import ExitStack

    from skerry_factory.appliance import booted
    from skerry_factory.boot import Machine
    from skerry_factory.qemu import kvm_is_usable
    from skerry_factory.session import prepared

    with ExitStack() as running:
        ready = running.enter_context(prepared(_request(options)))
        name = Path(options.disk).stem
        key = ready.key or _existing(_ssh_folder() / "id_ed25519", "--identity-file")
        machine = Machine(ready.disk, kvm=kvm_is_usable(options.cache))
        with progress.step("boot", name) as step:
            context = booted(machine, name, key, _report(options, name), step.waits_for)
            appliance = running.enter_context(context)
            step.done_as(appliance.how)
        with progress.step("validate", name) as step:
            return appliance.validate(step.waits_for)


def _request(options: argparse.Namespace) -> "BootRequest":
    from skerry_factory.definition import find_definition
    from skerry_factory.paths import Checkout
    from skerry_factory.session import BootRequest

    checkout = Checkout.of_package()
    disk = Path(options.disk)
    is_disk = disk.is_file()
    return BootRequest(
        image=None if is_disk else checkout.output / find_definition(options.disk, checkout).id,
        disk=disk if is_disk else None,
        config=options.config or checkout.root / "examples" / "config.toml",
        key=options.identity_file,
    )


def _ssh_folder() -> Path:
    """Where the operator's own keys are."""
    return Path.home() / ".ssh"


def _existing(path: Path, option: str) -> Path:
    from skerry_factory.errors import FactoryError

    if not path.is_file():
        raise FactoryError(f"{path} does not exist; name the file with {option}")
    return path
