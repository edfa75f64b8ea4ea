"""What the verbs share: options, output, the store of a data folder."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from skerry.wire.identity import Identity
from skerry_lab.errors import LabError
from skerry_lab.store import Store

Run = Callable[[argparse.Namespace], int]


def add_command(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
    run: Run,
) -> argparse.ArgumentParser:
    """Add a command with the options that all have."""
    parser = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the lab's folder")
    parser.add_argument(
        "--output", choices=("text", "json"), default="text", help="for people or for programs"
    )
    parser.set_defaults(run=run)
    return parser


def add_group(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    """Add a verb that has commands of its own."""
    parser = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    return parser.add_subparsers(dest="command", metavar="COMMAND", required=True)


def switch(text: str) -> bool:
    """Read `true` or `false`, as options of the Azure CLI take them."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def json_value(text: str) -> object:
    """Read JSON, as options of the Azure CLI take it."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error


def add_identity(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a device, or a module of it."""
    parser.add_argument("--device-id", "-d", required=True, metavar="ID")
    parser.add_argument("--module-id", "-m", metavar="ID", help="a module of the device")


def identity_of(options: argparse.Namespace) -> Identity:
    """Return whom `add_identity`'s options name."""
    return Identity(options.device_id, options.module_id)


@contextlib.contextmanager
def opened(options: argparse.Namespace) -> Iterator[Store]:
    """Open the data folder, also beside a running server."""
    store = Store(options.data)
    try:
        yield store
    finally:
        store.close()


def finish_sweep(store: Store) -> None:
    """Bring configurations onto all devices, which a running server does too."""
    while store.do(lambda cloud: cloud.targeting.step()):
        pass


def read_text(path: Path) -> str:
    """Return the text of a file that an option names. Raises: LabError."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path} cannot be read as a certificate: {error}") from error


def read_json(path: Path) -> object:
    """Return the JSON of a file that an option names. Raises: LabError."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LabError(f"{path} cannot be read as JSON: {error}") from error


def show_json(document: object) -> None:
    """Print what has no other form."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def show(options: argparse.Namespace, facts: Mapping[str, object]) -> None:
    """Print one thing: as JSON, or a fact a line."""
    if options.output == "json":
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        sys.stdout.write(f"{name.ljust(width)}  {_text(value)}\n")


def show_list(
    options: argparse.Namespace, rows: Sequence[Mapping[str, object]], columns: Sequence[str]
) -> None:
    """Print many: JSON with all facts, or a table of some."""
    if options.output == "json":
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    lines = [list(columns), *([_text(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
