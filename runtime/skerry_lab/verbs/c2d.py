"""`skerry-lab c2d`: messages to devices. Options are those of `az iot device c2d-message`.

`--data` is the lab's folder everywhere, so the text of a message is `--body`.
"""

import argparse
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

from skerry_lab.client import LabClient
from skerry_lab.cloud import Cloud
from skerry_lab.errors import LabError
from skerry_lab.messages.model import Ack, Outgoing
from skerry_lab.verbs._common import (
    add_command,
    add_group,
    add_identity,
    identity_of,
    opened,
    show,
    show_list,
)

_FEEDBACK = "/messages/serviceBound/feedback"
_COLUMNS = ("originalMessageId", "deviceId", "statusCode", "enqueuedTimeUtc")
_SYSTEM = {
    "correlation_id": "correlation-id",
    "user_id": "user-id",
    "content_type": "content-type",
    "content_encoding": "content-encoding",
}


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    commands = add_group(subparsers, "c2d", "messages to devices")
    send = add_command(commands, "send", "queue a message for a device or module", _send)
    add_identity(send)
    body = send.add_mutually_exclusive_group(required=True)
    body.add_argument("--body", metavar="TEXT")
    body.add_argument("--data-file-path", "--dfp", type=Path, metavar="FILE")
    send.add_argument("--props", "-p", default="", metavar="NAME=VALUE;…")
    send.add_argument("--message-id", "--mid", default="", metavar="ID")
    send.add_argument("--correlation-id", "--cid", metavar="ID")
    send.add_argument("--user-id", "--uid", metavar="ID")
    send.add_argument("--content-type", "--ct", metavar="TYPE")
    send.add_argument("--content-encoding", "--ce", metavar="ENCODING")
    send.add_argument("--ack", choices=tuple(Ack), default=Ack.NONE)
    send.add_argument(
        "--expiry-time-utc", "--expiry", type=_milliseconds, metavar="MS",
        help="when it expires, in milliseconds since 1970 (default: in an hour)",
    )  # fmt: skip
    feedback = add_command(commands, "feedback", "take the feedback that waits", _feedback)
    feedback.add_argument("--keep", action="store_true", help="leave it for others")
    purge = add_command(commands, "purge", "drop all messages of a device", _purge)
    purge.add_argument("--device-id", "-d", required=True, metavar="ID")


def _send(options: argparse.Namespace) -> int:
    identity = identity_of(options)
    body = _body(options)
    system = {
        name: getattr(options, option)
        for option, name in _SYSTEM.items()
        if getattr(options, option) is not None
    }
    wanted = Outgoing(
        identity, body, system, _properties(options.props), options.message_id,
        Ack(options.ack), options.expiry_time_utc,
    )  # fmt: skip

    def work(cloud: Cloud) -> dict[str, object]:
        sent = cloud.messages.send(wanted)
        return {
            "messageId": sent.message_id,
            "deviceId": identity.device_id,
            "moduleId": identity.module_id,
            "expiryTimeUtc": sent.expires.isoformat(),
        }

    with opened(options) as store:
        show(options, store.do(work))
    return 0


def _feedback(options: argparse.Namespace) -> int:
    client = LabClient(options.data)
    rows: list[dict[str, object]] = []
    while (answer := client.request("GET", _FEEDBACK)).status == HTTPStatus.OK:
        if isinstance(answer.document, list):
            rows.extend(answer.document)
        token = answer.headers["etag"].strip('"')
        if options.keep:
            client.request("POST", f"{_FEEDBACK}/{token}/abandon")
            break
        client.request("DELETE", f"{_FEEDBACK}/{token}")
    show_list(options, rows, _COLUMNS)
    return 0


def _purge(options: argparse.Namespace) -> int:
    with opened(options) as store:
        purged = store.do(lambda cloud: cloud.messages.purge(options.device_id))
    show(options, {"deviceId": options.device_id, "totalMessagesPurged": purged})
    return 0


def _body(options: argparse.Namespace) -> bytes:
    if options.data_file_path is None:
        return str(options.body).encode()
    try:
        return bytes(options.data_file_path.read_bytes())
    except OSError as error:
        raise LabError(f"{options.data_file_path} cannot be read: {error.strerror}") from error


def _properties(text: str) -> dict[str, str]:
    properties = {}
    for part in filter(None, text.split(";")):
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise LabError(f"{part!r} is not a property, expected NAME=VALUE;NAME=VALUE")
        properties[name] = value
    return properties


def _milliseconds(text: str) -> datetime:
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time, expected milliseconds")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(text))
