"""`skerry hub queues`, `peek`, `purge` and `trace`: what the edge hub stores, for people.

All but `purge` read the database beside the running hub. What only the hub knows (rates, what is on
its way) it is asked for; `purge` is done by the hub, or here when it does not run.
"""

import argparse
import base64
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.cli._options import add_output

if TYPE_CHECKING:
    import sqlite3

    from skerry.hub.store.model import QueueState

STORE = Path("/var/lib/docker/volumes/skerry-hub/_data/edgeHub")
_ANSWER_SECONDS = 5.0
_PURGE_SECONDS = 300.0
_SHOWN_CHARACTERS = 60
_QUEUE_COLUMNS = ("ENDPOINT", "PRIORITY", "WAITING", "BYTES", "OLDEST", "IN/S", "OUT/S")


def add_verbs(things: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to those of `skerry hub`."""
    queues = _verb(things, "queues", "what waits, for whom, and when the store will be full")
    queues.set_defaults(run=run_queues)
    peek = _verb(things, "peek", "show the messages that go next to an endpoint")
    peek.add_argument("endpoint", metavar="ENDPOINT", help="`upstream` or DEVICE/MODULE/INPUT")
    peek.add_argument("--limit", type=int, default=10, metavar="N", help="how many at most")
    peek.set_defaults(run=run_peek)
    purge = _verb(things, "purge", "drop what waits for an endpoint; what is on its way stays")
    purge.add_argument("endpoint", metavar="ENDPOINT")
    purge.add_argument("--priority", type=int, metavar="N", help="only the queue of this priority")
    purge.set_defaults(run=run_purge)
    trace = _verb(things, "trace", "what became of a message")
    trace.add_argument("message_id", metavar="MESSAGE-ID", help="the hub's id, as `peek` shows it")
    trace.set_defaults(run=run_trace)


def run_queues(options: argparse.Namespace) -> int:
    """Print the queues, by the running hub's word where there is one."""
    found = asked(options.store, {"action": "queues"}, _ANSWER_SECONDS) or _read_queues(
        options.store
    )
    if options.output == "json":
        return _print_json(found)
    store = found["store"]
    for problem in store["problems"] if isinstance(store, dict) else ():
        sys.stderr.write(f"warning: {problem}\n")
    rows = [_queue_row(queue) for queue in _list(found["queues"])]
    return _print_table(
        ("ENDPOINT", "PRIORITY", "WAITING", "BYTES", "OLDEST", "IN/S", "OUT/S"), rows
    )


def run_peek(options: argparse.Namespace) -> int:
    """Print the messages that go next."""
    from skerry.hub.store import view

    with _reading(options.store) as connection:
        found = [each.message for each in view.peek(connection, options.endpoint, options.limit)]
    whole = [message for message in found if message is not None]
    if options.output == "json":
        shown = [asdict(each) | {"body": base64.b64encode(each.body).decode()} for each in whole]
        return _print_json({"messages": shown})
    rows = [
        (each.id, _time(each.received_at), each.source, str(len(each.body)), _text(each.body))
        for each in whole
    ]
    return _print_table(("ID", "RECEIVED", "SOURCE", "BYTES", "BODY"), rows)


def run_purge(options: argparse.Namespace) -> int:
    """Drop what waits, and print how many messages that were."""
    from skerry.base.clock import SystemClock
    from skerry.base.log import get_logger
    from skerry.hub.store.errors import StoreBusyError
    from skerry.hub.store.model import StoreSettings
    from skerry.hub.store.requests import ask
    from skerry.hub.store.store import Store

    _require(options.store)
    store = Store(options.store, StoreSettings(), SystemClock(), get_logger("hub"))
    try:
        store.open()
    except StoreBusyError:
        request = {"action": "purge", "endpoint": options.endpoint, "priority": options.priority}
        purged = ask(options.store, request, _PURGE_SECONDS)["purged"]
    else:
        with closing(store):
            purged = store.purge(options.endpoint, options.priority).result()
    if options.output == "json":
        return _print_json({"purged": purged})
    sys.stdout.write(f"{purged} messages dropped\n")
    return 0


def run_trace(options: argparse.Namespace) -> int:
    """Print what the ledger knows of a message."""
    from skerry.hub.store import view
    from skerry.hub.store.errors import StoreError

    with _reading(options.store) as connection:
        found = view.trace(connection, options.message_id)
    if found is None:
        raise StoreError(
            f"the ledger knows no message {options.message_id!r}; it keeps the last days only"
        )
    if options.output == "json":
        return _print_json(asdict(found))
    rows = [
        (_time(each.at), each.kind, each.endpoint, _number(each.priority), each.reason)
        for each in found.events
    ]
    sys.stdout.write(f"{found.message_id} from {found.source}\n")
    return _print_table(("TIME", "EVENT", "ENDPOINT", "PRIORITY", "REASON"), rows)


def _verb(
    things: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = things.add_parser(name, help=text)
    parser.add_argument("--store", type=Path, default=STORE, metavar="DIR", help="the hub's folder")
    add_output(parser)
    return parser


def asked(folder: Path, request: dict[str, object], seconds: float) -> dict[str, object] | None:
    """Return the running hub's answer, None when none runs."""
    from skerry.hub.store.requests import ask, is_running

    _require(folder)
    return ask(folder, request, seconds) if is_running(folder) else None


def _read_queues(folder: Path) -> dict[str, object]:
    from skerry.hub.store import view

    with _reading(folder) as connection:
        states: list[QueueState] = list(view.queues(connection).values())
    return {"queues": [asdict(state) for state in states], "store": None}


@contextmanager
def _reading(folder: Path) -> "Iterator[sqlite3.Connection]":
    import sqlite3

    from skerry.hub.store.database import FILE, connect
    from skerry.hub.store.errors import StoreError

    _require(folder)
    with closing(connect(folder / FILE)) as connection:
        try:
            connection.execute("PRAGMA query_only = ON")
            yield connection
        except sqlite3.Error as error:
            raise StoreError(f"{folder / FILE} cannot be read: {error}") from error


def _require(folder: Path) -> None:
    from skerry.hub.store.database import FILE
    from skerry.hub.store.errors import StoreError

    if not (folder / FILE).is_file():
        raise StoreError(f"{folder} holds no store of a hub; name its folder with --store")


def _queue_row(queue: dict[str, object]) -> tuple[str, ...]:
    oldest = queue["oldest"]
    return (
        str(queue["endpoint"]),
        _number(queue["priority"]),
        str(queue["length"]),
        str(queue["bytes"]),
        _time(oldest) if isinstance(oldest, float) else "",
        f"{queue['in_rate']:.1f}",
        f"{queue['out_rate']:.1f}",
    )


def _number(priority: object) -> str:
    from skerry.hub.store.model import DEFAULT_PRIORITY

    if priority is None:
        return ""
    return "default" if priority == DEFAULT_PRIORITY else str(priority)


def _list(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    shown = "".join(char if char.isprintable() else "·" for char in text)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 1] + "…"


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    from skerry.cli._text import columns

    sys.stdout.write(columns(head, rows))
    return 0


def _print_json(found: object) -> int:
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0
