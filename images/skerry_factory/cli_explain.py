"""`skerry-factory explain [KEY]`: what a key of image.toml means, from the schema."""

import argparse
import json
from typing import TYPE_CHECKING

from skerry_factory.command_line import add_verb, show_result

if TYPE_CHECKING:
    from skerry_factory.command_line import Subparsers
    from skerry_factory.image_schema import Key


def register(subparsers: "Subparsers") -> None:
    """Add the verb."""
    parser = add_verb(subparsers, "explain", _run, help="explain a key or table of image.toml")
    parser.add_argument(
        "key", nargs="?", default="", metavar="KEY", help="such as disk.size; default: all"
    )


def _run(options: argparse.Namespace) -> int:
    from skerry_factory.image_schema import find_keys, load_schema

    found = find_keys(load_schema(), options.key)
    text = "\n\n".join(_text(key) for key in found)
    show_result(options, {"keys": [key.as_json() for key in found]}, text)
    return 0


def _text(key: "Key") -> str:
    lines = [f"{key.path} ({key.kind}{', required' if key.required else ''})"]
    if key.description:
        lines.append(f"    {key.description}")
    if key.expected:
        lines.append(f"    Expected: {key.expected}.")
    if key.default is not None:
        lines.append(f"    Default: {json.dumps(key.default)}")
    return "\n".join(lines)
