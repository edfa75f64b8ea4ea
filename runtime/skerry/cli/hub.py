"""`skerry hub`: `route test` tells whether a message takes a route, and why; and its queues."""

import argparse
import base64
import binascii
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.base.errors import SkerryError
from skerry.cli import _hub_clients, _hub_queues
from skerry.cli._options import add_output

if TYPE_CHECKING:
    from skerry.hub.routes.model import Message

_FIELDS = ("source", "properties", "systemProperties", "body", "bodyBase64")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("hub", help="the edge hub of this device")
    things = parser.add_subparsers(dest="thing", metavar="THING", required=True)
    route = things.add_parser("route", help="routes of the hub")
    actions = route.add_subparsers(dest="action", metavar="ACTION", required=True)
    test = actions.add_parser(
        "test",
        help="tell whether a message takes a route, and why",
        epilog="FILE holds a JSON object: source (default /messages), properties, systemProperties "
        "(contentType, …), and body (any JSON; a text is sent as it is) or bodyBase64",
    )
    test.add_argument("route", metavar="ROUTE", help="such as 'FROM /messages/* INTO $upstream'")
    test.add_argument(
        "--message", type=Path, required=True, metavar="FILE", help="the message as JSON"
    )
    add_output(test)
    test.set_defaults(run=run_test)
    _hub_queues.add_verbs(things)
    _hub_clients.add_verbs(things)


def run_test(options: argparse.Namespace) -> int:
    """Print the explanation; exit status 0 also when the message does not match."""
    from skerry.hub.errors import RouteError
    from skerry.hub.routes.route import parse_route

    message = _message(options.message)
    try:
        told = parse_route(options.route).explain(message)
    except RouteError as error:
        if options.output == "json":
            problems = [problem.to_json() for problem in error.problems]
            sys.stdout.write(json.dumps({"problems": problems}, indent=1) + "\n")
        marks = "".join(_marks(problem.start, problem.end) for problem in error.problems[:1])
        raise SkerryError(
            f"the route cannot be used: {error}\n  {error.text}\n  {marks}"
        ) from error
    if options.output == "json":
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
    else:
        sys.stdout.writelines(_lines(told))
    return 0


def _marks(start: int, end: int) -> str:
    return " " * start + "^" * max(end - start, 1)


def _lines(told: Mapping[str, object]) -> list[str]:
    source = told["source"]
    lines = [f"{'matches' if told['matches'] else 'does not match'}, to {told['sink']}\n"]
    if isinstance(source, dict):
        verdict = "is" if source["matches"] else "is not"
        lines.append(f"  source {source['found']} {verdict} below {source['expected']}\n")
    condition = told.get("condition")
    if isinstance(condition, dict):
        lines += _parts(condition, "  ")
    return lines


def _parts(part: Mapping[str, object], indent: str) -> list[str]:
    value = part["value"]
    shown = "undefined" if value == "undefined" else json.dumps(value, ensure_ascii=False)
    lines = [f"{indent}{part['text']}  →  {shown}\n"]
    inner = part.get("parts")
    for found in inner if isinstance(inner, list) else ():
        lines += _parts(found, indent + "  ")
    return lines


def _message(file: Path) -> "Message":
    from skerry.hub.routes.model import Message, system_name

    try:
        found = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SkerryError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SkerryError(f"{file} is not JSON: {error}") from error
    unknown = set(found) - set(_FIELDS) if isinstance(found, dict) else {"no object"}
    if unknown:
        names = ", ".join(_FIELDS)
        raise SkerryError(f"{file} holds {sorted(unknown)[0]!r}, expected an object of {names}")
    body = found.get("body", "")
    try:
        data = base64.b64decode(found.get("bodyBase64", ""), validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise SkerryError(f"{file}: bodyBase64 is not base64") from error
    return Message(
        source=str(found.get("source", "/messages")),
        properties=_texts(file, "properties", found),
        system={system_name(k): v for k, v in _texts(file, "systemProperties", found).items()},
        body=data or (body if isinstance(body, str) else json.dumps(body)).encode(),
    )


def _texts(file: Path, name: str, found: Mapping[str, object]) -> dict[str, str]:
    table = found.get(name, {})
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise SkerryError(f"{file}: {name} is not a table of texts")
    return table
