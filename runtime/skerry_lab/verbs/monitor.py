"""`skerry-lab monitor`: what devices send, as it arrives, through the running lab.

Options are those of `az iot hub monitor-events`. A restart of the lab is waited for, and nothing
is missed over it.
"""

import argparse
import itertools
import json
import sys

from skerry_lab.client import LabClient
from skerry_lab.verbs._common import add_command, opened


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = add_command(subparsers, "monitor", "print messages of devices as they arrive", _run)
    parser.add_argument("--device-id", "-d", metavar="ID", help="of this device alone")
    parser.add_argument("--module-id", "-m", metavar="ID", help="of this module alone")
    parser.add_argument(
        "--from", dest="start", default="latest", metavar="OFFSET",
        help="an offset, earliest or latest (default: what arrives from now on)",
    )  # fmt: skip
    parser.add_argument(
        "--properties", "--props", choices=("none", "app", "sys", "all"), default="app",
        help="which properties the text form shows (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--message-count", "--mc", type=_count, metavar="N", help="end after N")


def _run(options: argparse.Namespace) -> int:
    client = LabClient(options.data)
    start = options.start
    if start == "latest":  # an offset, so that a restart before the first message misses none
        with opened(options) as store:
            start = str(store.do(lambda cloud: cloud.messages.ends())[1] + 1)
    events = client.events(start, options.device_id, options.module_id)
    for event in itertools.islice(events, options.message_count):
        if options.output == "json":
            sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
        else:
            sys.stdout.write(_text(event, options.properties))
        sys.stdout.flush()
    return 0


def _text(event: dict[str, object], shown: str) -> str:
    module = f"/{event['moduleId']}" if event["moduleId"] else ""
    lines = [f"{event['enqueuedTime']}  {event['deviceId']}{module}  {event['body']}"]
    kinds = (("app", "properties"), ("sys", "systemProperties"))
    for kind, field in kinds:
        bag = event[field]
        if shown in (kind, "all") and isinstance(bag, dict):
            lines += [f"    {name}: {value}" for name, value in bag.items()]
    return "\n".join(lines) + "\n"


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, expected 1 or more")
    return int(text)
