"""The `skerry-lab` command. This version has no lab cloud: the command says so and exits 2."""

import argparse
import sys
from collections.abc import Sequence

import skerry

NOTHING_YET = (
    "this version has no lab cloud;"
    " an appliance with provisioning.source = 'standalone' needs none, see docs/deployment.md"
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="skerry-lab",
        description="The cloud side on one machine, for labs and sites without an account.",
        epilog=f"Note: {NOTHING_YET}.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {skerry.__version__}")
    parser.parse_args(arguments)
    sys.stderr.write(f"skerry-lab: {NOTHING_YET}\n")
    return 2
