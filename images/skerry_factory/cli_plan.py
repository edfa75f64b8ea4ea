"""`skerry-factory plan ID`: which steps a build would run, and why they are not cached."""

import argparse
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_cache_option, add_verb, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers
    from skerry_factory.planning import PlannedStep


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "plan", _run, help="tell which steps a build would run, and why; builds nothing"
    )
    parser.add_argument("id", metavar="ID", help="the definition: a folder of images/linux")
    parser.add_argument("--mirror", metavar="URL", help="Debian mirror that the build would use")
    add_cache_option(parser)


def _run(options: argparse.Namespace) -> int:
    from skerry_factory.cache import Cache
    from skerry_factory.definition import find_definition
    from skerry_factory.paths import Checkout
    from skerry_factory.planning import plan_build

    checkout = Checkout.of_package()
    definition = find_definition(options.id, checkout)
    steps = plan_build(definition, Cache(options.cache.resolve()), checkout, options.mirror)
    show_result(options, {"steps": [step.as_json() for step in steps]}, plan_text(steps))
    return 0


def plan_text(steps: "list[PlannedStep]") -> str:
    """Return the table of a plan: a line for each step, and one for each reason."""
    lines = []
    for step in steps:
        lines.append(f"{step.name:16}  {'cached' if step.cached else 'runs'}")
        lines += [f"{'':18}{reason}" for reason in step.why]
    return "\n".join(lines)
