"""`skerry-lab export` and `import`: a lab's devices, twins and enrolments as one file.

Options are those of `az iot hub state`.
"""

import argparse
import json
from pathlib import Path

from skerry.base.files import write_atomic
from skerry_lab.transfer import export_lab, import_lab
from skerry_lab.verbs._common import add_command, finish_sweep, opened, read_json, show


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs."""
    for name, text, run in (
        ("export", "write devices, twins and enrolments to a file, with their keys", _export),
        ("import", "read what export wrote; the same names are replaced", _import),
    ):
        parser = add_command(subparsers, name, text, run)
        parser.add_argument("--state-file", "-f", type=Path, required=True, metavar="FILE")


def _export(options: argparse.Namespace) -> int:
    with opened(options) as store:
        document = store.do(export_lab)
    write_atomic(options.state_file, json.dumps(document, indent=1).encode(), mode=0o600)
    return 0


def _import(options: argparse.Namespace) -> int:
    document = read_json(options.state_file)
    with opened(options) as store:
        counted = store.do(lambda cloud: import_lab(cloud, document))
        finish_sweep(store)
    show(options, counted)
    return 0
