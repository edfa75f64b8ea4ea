"""`skerry-factory containers [NAME…]`: assembles the container images of Skerry."""

import argparse
from dataclasses import asdict
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
    parser = add_verb(subparsers, "containers", _run, help="assemble the container images")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="folders of images/containers (default: all but base)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the archives (default: out/containers)"
    )
    add_cache_option(parser)
    parser.add_argument("--mirror", metavar="URL", help="Debian mirror of this build only")
    parser.add_argument("--suite", default="trixie", help="Debian suite (default: trixie)")
    parser.add_argument("--arch", default="amd64", help="architecture (default: amd64)")
    parser.add_argument(
        "--refresh", action="store_true", help="fetch the packages anew even if they are cached"
    )


def _run(options: argparse.Namespace) -> int:
    from skerry_factory.cache import exclusive
    from skerry_factory.container_definition import container_names
    from skerry_factory.containers import build_containers, write_preload_lock
    from skerry_factory.paths import Checkout

    checkout = Checkout.of_package()
    out = options.out or checkout.output / "containers"
    names = options.names or container_names(checkout)
    progress = progress_of_terminal()
    busy = f"another build uses {options.cache}"
    with (
        exclusive(options.cache / "lock", busy, lambda: progress.note(f"  waiting: {busy}")),
        progress.step("containers", ", ".join(names)) as step,
    ):
        images = build_containers(
            names,
            out,
            options.cache,
            mirror=options.mirror,
            progress=step.waits_for,
            suite=options.suite,
            arch=options.arch,
            refresh=options.refresh,
            checkout=checkout,
        )
        write_preload_lock(images, out / "preload.json")
        step.done_as(f"{sum(image.size_bytes for image in images) / 1e6:.0f} MB")
    data = {"images": [asdict(image) for image in images], "folder": str(out)}
    show_result(options, data, "\n".join(str(out / image.file) for image in images))
    return 0
