"""`skerry logs MODULE`: what a module wrote, its two streams kept apart."""

import argparse
import sys


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
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Copy the module's streams to our own."""
    from skerry.base.frames import STDERR, split_frames
    from skerry.cli._edged import edged

    with edged() as service:
        chunks = service.logs(
            options.module,
            follow=options.follow,
            tail=options.tail,
            since=options.since,
            until=options.until,
            timestamps=options.timestamps,
        )
        for stream, data in split_frames(chunks):
            target = sys.stderr if stream == STDERR else sys.stdout
            target.buffer.write(data)
            target.flush()
    return 0
