"""`skerry-lab root`: the certificate that devices have to trust."""

import argparse
import sys

from skerry_lab.store import ROOT_FILE
from skerry_lab.verbs._common import add_command, opened, show


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    add_command(subparsers, "root", "print the root certificate of the lab, PEM", _run)


def _run(options: argparse.Namespace) -> int:
    with opened(options) as store:
        pem = store.renew(()).root.chain_pem
    if options.output == "json":
        show(options, {"certificate": pem, "file": str((options.data / ROOT_FILE).resolve())})
    else:
        sys.stdout.write(pem)
    return 0
