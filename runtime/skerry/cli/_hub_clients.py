"""`skerry hub twin` and `method`: what the running hub knows of a client, and calls of it.

The hub is asked through its store, which only root can open.
"""

import argparse
import json
import sys
from pathlib import Path

from skerry.base.errors import SkerryError
from skerry.cli._hub_queues import STORE, asked
from skerry.cli._options import add_output

_ANSWER_SECONDS = 20.0
_BAD_STATUS = 400


def add_verbs(things: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to those of `skerry hub`."""
    twin = things.add_parser(
        "twin",
        help="show a client's twin; on a device without a cloud, set desired properties",
        epilog="A patch is merged as IoT Hub does it: null removes a property.",
    )
    twin.add_argument(
        "--patch", metavar="FILE", help="desired properties as JSON; - reads standard input"
    )
    twin.set_defaults(run=run_twin)
    method = things.add_parser(
        "method",
        help="call a direct method of a client",
        epilog="Exit status 1 when nobody answers, or with a status of 400 and above.",
    )
    method.set_defaults(run=run_method)
    for verb in (twin, method):
        verb.add_argument("client", metavar="CLIENT", help="DEVICE or DEVICE/MODULE")
        verb.add_argument(
            "--store", type=Path, default=STORE, metavar="DIR", help="the hub's folder"
        )
        add_output(verb)
    method.add_argument("name", metavar="METHOD")
    method.add_argument("--payload", metavar="FILE", help="JSON; - reads standard input")
    method.add_argument(
        "--timeout", type=int, default=30, metavar="SECONDS", help="for the answer, 5 to 300"
    )
    method.add_argument(
        "--connect-timeout", type=int, default=0, metavar="SECONDS", help="for a client to connect"
    )


def run_twin(options: argparse.Namespace) -> int:
    """Print a twin, changed first where that is asked for."""
    request: dict[str, object] = {"action": "twin", "client": options.client}
    if options.patch is not None:
        request |= {"action": "desired", "patch": _read_json(options.patch)}
    found = _ask(options.store, request, _ANSWER_SECONDS)
    if options.output == "text":
        state = "connected" if found["connected"] else "not connected"
        sys.stdout.write(f"{found['client']}: {state}\n")
        found = {"properties": found["properties"]}
    sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return 0


def run_method(options: argparse.Namespace) -> int:
    """Call a method and print the answer."""
    request: dict[str, object] = {
        "action": "method",
        "client": options.client,
        "methodName": options.name,
        "payload": None if options.payload is None else _read_json(options.payload),
        "responseTimeoutInSeconds": options.timeout,
        "connectTimeoutInSeconds": options.connect_timeout,
    }
    seconds = options.timeout + options.connect_timeout + _ANSWER_SECONDS
    found = _ask(options.store, request, seconds)
    if options.output == "json":
        sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    else:
        shown = json.dumps(found["payload"], indent=1, ensure_ascii=False)
        sys.stdout.write(f"status {found['status']}\n{shown}\n")
    status = found["status"]
    return 1 if isinstance(status, int) and status >= _BAD_STATUS else 0


def _ask(folder: Path, request: dict[str, object], seconds: float) -> dict[str, object]:
    found = asked(folder, request, seconds)
    if found is None:
        raise SkerryError("the edge hub does not run; see: skerry list, skerry logs edgeHub")
    return found


def _read_json(file: str) -> object:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        return json.loads(text)
    except OSError as error:
        raise SkerryError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SkerryError(f"{file} is not JSON: {error}") from error
