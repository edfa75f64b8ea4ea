"""`skerry logs MODULE`: what a module wrote, its two streams kept apart."""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator

from skerry.cli._options import add_output

_TIME = re.compile(rb"\A\d{4}-\d\d-\d\dT\S+Z ")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("logs", help="show what a module wrote")
    parser.add_argument("module", metavar="MODULE")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until interrupted")
    parser.add_argument("--tail", default="all", metavar="all|N", help="only the last N lines")
    parser.add_argument(
        "--since", default="1 day", metavar="TIME", help="'90m', '1 day', RFC 3339 or unix seconds"
    )
    parser.add_argument("--until", metavar="TIME", help="as --since")
    parser.add_argument("--timestamps", action="store_true", help="with the time of each line")
    add_output(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Copy the module's streams to our own; as JSON, an object a line with the time of each."""
    from skerry.base.frames import STDERR, split_frames
    from skerry.cli._edged import edged

    as_json = options.output == "json"
    with edged() as service:
        chunks = service.logs(
            options.module,
            follow=options.follow,
            tail=options.tail,
            since=options.since,
            until=options.until,
            timestamps=options.timestamps or as_json,
        )
        if as_json:
            for entry in entries(split_frames(chunks)):
                sys.stdout.write(json.dumps(entry, ensure_ascii=False) + "\n")
                sys.stdout.flush()
            return 0
        for stream, data in split_frames(chunks):
            target = sys.stderr if stream == STDERR else sys.stdout
            target.buffer.write(data)
            target.flush()
    return 0


def entries(frames: Iterable[tuple[int, bytes]]) -> Iterator[dict[str, str]]:
    """Yield every line of both streams: {"time": RFC 3339, "stream", "text"}.

    A line longer than the engine's buffer comes in several frames, each with a time of its own.
    """
    from skerry.base.frames import STDERR

    rest: dict[int, bytes] = {}
    for stream, data in frames:
        begun = rest.get(stream, b"")
        more = _TIME.sub(b"", data, count=1) if begun else data
        *lines, rest[stream] = (begun + more).split(b"\n")
        name = "stderr" if stream == STDERR else "stdout"
        yield from (_entry(name, line) for line in lines)
    for stream, line in rest.items():
        if line:
            yield _entry("stderr" if stream == STDERR else "stdout", line)


def _entry(stream: str, line: bytes) -> dict[str, str]:
    time, _, text = line.decode("utf-8", "replace").partition(" ")
    return {"time": time, "stream": stream, "text": text}
