"""`skerry-lab method`: direct methods, through the running lab.

Options are those of `az iot hub invoke-device-method`.
"""

import argparse
from urllib.parse import quote

from skerry_lab.client import LabClient
from skerry_lab.verbs._common import (
    add_command,
    add_group,
    add_identity,
    json_value,
    show_json,
)

_DEFAULT_SECONDS = 30
_MARGIN_SECONDS = 15


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "method", "direct methods of devices and modules")
    invoke = add_command(commands, "invoke", "call a method and print status and payload", _invoke)
    add_identity(invoke)
    invoke.add_argument("--method-name", "--mn", required=True, metavar="NAME")
    invoke.add_argument("--method-payload", "--mp", type=json_value, metavar="JSON")
    invoke.add_argument(
        "--timeout", "--to", type=int, default=_DEFAULT_SECONDS, metavar="SECONDS",
        help="how long the answer may take, 5 to 300 (default: %(default)s)",
    )  # fmt: skip


def _invoke(options: argparse.Namespace) -> int:
    path = f"/twins/{quote(options.device_id, safe='')}"
    if options.module_id is not None:
        path += f"/modules/{quote(options.module_id, safe='')}"
    body = {
        "methodName": options.method_name,
        "payload": options.method_payload,
        "responseTimeoutInSeconds": options.timeout,
    }
    wait = options.timeout + _MARGIN_SECONDS
    client = LabClient(options.data)
    answer = client.request("POST", f"{path}/methods", body, timeout_seconds=wait)
    show_json(answer.document)
    return 0
