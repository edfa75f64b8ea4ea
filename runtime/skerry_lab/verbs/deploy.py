"""`skerry-lab deploy`: what an edge device is to run. Options are those of `az iot edge`."""

import argparse
from pathlib import Path

from skerry_lab.configurations.content import content_from
from skerry_lab.verbs._common import add_command, add_group, opened, read_json, show_list


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "deploy", "deployments of edge devices")
    put = add_command(commands, "set", "put a deployment on a device", _set)
    put.add_argument("--device-id", "-d", required=True, metavar="ID")
    put.add_argument(
        "--content", "-k", type=Path, required=True, metavar="FILE", help="deployment.json"
    )


def _set(options: argparse.Namespace) -> int:
    content = content_from(read_json(options.content))
    with opened(options) as store:
        store.do(lambda cloud: cloud.deployments.apply(options.device_id, content))
    rows = [{"moduleId": wanted.module_id} for wanted in content]
    show_list(options, rows, ("moduleId",))
    return 0
