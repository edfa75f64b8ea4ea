"""`skerry-factory bench`: measures builds and a booted appliance, writes bench/results."""

import argparse
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, progress_of_terminal, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers

IMAGE = "debian-13-amd64"
RUNS = 3


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "bench", run, help="measure builds and a booted appliance; nothing is judged"
    )
    parser.add_argument("--image", default=IMAGE, metavar="ID", help=f"default: {IMAGE}")
    parser.add_argument(
        "--services-only", action="store_true", help="only tests/perf; shown and not written"
    )
    parser.add_argument(
        "--runs", type=int, default=RUNS, metavar="N", help=f"of each figure (default: {RUNS})"
    )


def run(options: argparse.Namespace) -> int:
    """Measure everything; a missed target is shown and changes no exit status."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from skerry_factory.bench import document, machine, table, write
    from skerry_factory.bench_measures import Bench, services
    from skerry_factory.cache import remove_tree
    from skerry_factory.definition import find_definition
    from skerry_factory.paths import Checkout
    from skerry_factory.qemu import kvm_is_usable

    checkout = Checkout.of_package()
    checkout.output.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=checkout.output, prefix=".bench-") as folder:
        work = Path(folder)
        bench = Bench(
            definition=find_definition(options.image, checkout),
            checkout=checkout,
            config=checkout.root / "examples" / "config.toml",
            work=work,
            progress=progress_of_terminal(),
            runs=options.runs,
        )
        if options.services_only:
            results = services(checkout, work)
            described = machine("none")
            show_result(options, document(described, results), table(described, results))
            return 0
        cache, out = work / f"cache-{options.runs - 1}", work / f"out-{options.runs - 1}"
        results = [*bench.builds(), *bench.appliance(cache, out), *services(checkout, work)]
        described = machine("with KVM" if kvm_is_usable(cache) else "emulated")
        remove_tree(cache)
    write(checkout.root / "bench", described, results)
    show_result(options, document(described, results), table(described, results))
    return 0
