"""`skerry support-bundle`: one zip with all that a technician wants to know, without the secrets.

Options are Azure IoT Edge's (azure-iot-edge.md §7.4). The file appears when it is whole: an
interruption or an error leaves nothing behind. Parts that cannot be had are in its manifest.
"""

import argparse
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from skerry.bundle.collect import Sources, Wanted

_MIB = 1024 * 1024
_LOG_MIB = 128
_TOTAL_MIB = 512
_NAME = "support_bundle_%Y_%m_%d_%H_%M_%S_UTC.zip"


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "support-bundle", help="put logs, settings and checks into one zip, without the secrets"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE|-",
        help="default support_bundle_<time>_UTC.zip, - is stdout",
    )
    parser.add_argument(
        "--since", default="1 day", metavar="TIME", help="'90m', '1 day', RFC 3339 or unix seconds"
    )
    parser.add_argument("--until", metavar="TIME", help="as --since")
    parser.add_argument(
        "-e",
        "--include-edge-runtime-only",
        action="store_true",
        help="of the modules only the edge agent and the edge hub",
    )
    parser.add_argument("--iothub-hostname", metavar="HOST", help="for the checks, as in check")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing unless it fails")
    parser.add_argument(
        "--max-log-size",
        type=_size,
        default=_LOG_MIB,
        metavar="MIB",
        help=f"of a log only its end, before compression (default {_LOG_MIB})",
    )
    parser.add_argument(
        "--max-size",
        type=_size,
        default=_TOTAL_MIB,
        metavar="MIB",
        help=f"of the whole, before compression (default {_TOTAL_MIB})",
    )
    parser.add_argument(
        "--engine", metavar="URI", help="the container engine (default: as edged is configured)"
    )
    parser.add_argument("--etc", metavar="DIR", default="/etc/skerry", help=argparse.SUPPRESS)
    parser.add_argument("--within-edged", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make a bundle of this machine."""
    from skerry.base.clock import SystemClock
    from skerry.base.errors import SkerryError
    from skerry.bundle.archive import Archive, Limits
    from skerry.bundle.collect import Wanted, collect
    from skerry.bundle.scrub import Scrubber
    from skerry.workloads.times import point_in_time

    now = SystemClock().now()
    try:
        since = point_in_time(options.since, now)
        until = point_in_time(options.until, now) if options.until else now.timestamp()
    except ValueError as error:
        raise SkerryError(str(error)) from error
    wanted = Wanted(since, until, options.include_edge_runtime_only, options.within_edged)
    limits = Limits(options.max_log_size * _MIB, options.max_size * _MIB)
    say = _silence if options.quiet else _tell
    if os.geteuid() != 0 and not options.within_edged:
        say("without root some parts are missing; for all of them run it with sudo")
    with _interruptible(), _output(options.output, now) as (file, path):
        scrubber = Scrubber()
        archive = Archive(file, scrubber, limits, now)
        try:
            collect(archive, scrubber, _sources(options, wanted, say), wanted)
        except BaseException:
            archive.abandon()
            raise
    missing = [part for part in archive.parts if part.state in {"failed", "left out"}]
    for part in missing:
        say(f"without {part.name}: {part.reason}")
    if path is not None:
        say(f"{len(archive.parts) - len(missing)} parts in")
        sys.stdout.write(f"{path}\n")
    return 0


def _sources(
    options: argparse.Namespace, wanted: "Wanted", say: Callable[[str], None]
) -> "Sources":
    from skerry.bundle.collect import Sources
    from skerry.cli._edged import management_socket
    from skerry.cli.system import engine_uri
    from skerry.engine.client import MobyEngine

    etc = Path(options.etc)
    return Sources(
        engine=MobyEngine(options.engine or engine_uri(etc / "edged")),
        etc=etc,
        management=management_socket(),
        check=lambda: _check(options.iothub_hostname, offline=wanted.within_edged),
        say=say,
    )


def _check(iothub_hostname: str | None, *, offline: bool) -> object:
    from skerry.base.clock import SystemClock
    from skerry.check.appliance import Options
    from skerry.check.discover import all_checks
    from skerry.check.machine import this_appliance
    from skerry.check.model import Section
    from skerry.check.report import json_of
    from skerry.check.run import run_checks

    links = {Section.IDENTITY_LINK, Section.EDGE_LINK} if offline else set()
    checks = [check for check in all_checks() if check.section not in links]
    appliance = this_appliance(Options(iothub_hostname=iothub_hostname))
    return json_of(run_checks(checks, appliance), appliance, SystemClock().now())


@contextlib.contextmanager
def _output(name: str | None, now: datetime) -> Iterator[tuple[BinaryIO, Path | None]]:
    """Give the file to write to; it gets its name when the block has ended well."""
    from skerry.base.errors import SkerryError

    if name == "-":
        if sys.stdout.isatty():
            raise SkerryError("a zip is nothing for a terminal; use --output FILE, or a pipe")
        yield sys.stdout.buffer, None
        return
    path = Path(name) if name else Path(now.strftime(_NAME))
    if path.is_dir():
        path /= now.strftime(_NAME)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, path
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let an ended terminal or `kill` clean up as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _size(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of MiB, expected 1 or more")
    return int(text)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _silence(_line: str) -> None:
    pass
