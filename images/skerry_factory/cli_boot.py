"""`skerry-factory boot ID|DISK`: an appliance in QEMU, until one is done with it."""

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
    parser = add_verb(subparsers, "boot", _run, help="boot an image or a stamped disk in QEMU")
    parser.add_argument(
        "what", metavar="ID|DISK", help="an image, booted as a throw-away device, or a disk file"
    )
    parser.add_argument("--ssh", action="store_true", help="open a shell; its end is the end")
    parser.add_argument(
        "--until", choices=["ready", "login"], help="end once one can log in, or all modules run"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="config.toml of the throw-away device"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="private key that may log in")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the image (default: out/ID)"
    )
    add_cache_option(parser)


def _run(options: argparse.Namespace) -> int:
    from skerry_factory.paths import Checkout
    from skerry_factory.session import BootRequest, boot

    checkout = Checkout.of_package()
    disk = Path(options.what)
    request = BootRequest(
        image=None if disk.is_file() else options.out or checkout.output / options.what,
        disk=disk if disk.is_file() else None,
        config=options.config or checkout.root / "examples" / "config.toml",
        key=options.key,
    )
    progress = progress_of_terminal()
    result = boot(request, options.cache, progress, until=options.until, shell=options.ssh)
    show_result(options, result, "")
    return 0
