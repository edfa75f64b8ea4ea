"""The support bundle as edged gives it: `skerry support-bundle` as a process of its own.

So edged keeps its memory, and a collector that crashes takes nothing with it. One bundle at a time.
An error before the first byte is an answer; after it the connection breaks off, so that half a
bundle is never taken for a whole one. The process ends with its reader.
"""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import cast

from skerry.base.clock import Clock
from skerry.base.http import HttpError
from skerry.base.log import Logger
from skerry.workloads.errors import WorkloadsError
from skerry.workloads.times import point_in_time

_READ_BYTES = 64 * 1024
_END_SECONDS = 10
_WORDS = 1000
_DEFAULT_SINCE = "1 day"


class BrokenBundleError(ConnectionError):
    """The collector failed after the first byte: the reader's connection has to break."""


class SupportBundles:
    """Makes bundles of this machine."""

    def __init__(
        self,
        engine_uri: str,
        etc: Path,
        clock: Clock,
        log: Logger,
        program: Sequence[str] = (sys.executable, "-I", "-m", "skerry.cli.main", "support-bundle"),
    ) -> None:
        self._program = program
        self._engine_uri = engine_uri
        self._etc = etc
        self._clock = clock
        self._log = log
        self._turn = threading.Lock()

    def stream(self, query: Mapping[str, str]) -> Iterator[bytes]:
        """Return the zip in pieces; the first one is there. Raises HttpError, WorkloadsError."""
        command = self._command(query)
        if not self._turn.acquire(blocking=False):
            raise HttpError(503, "a support bundle is being made; ask again when it is done")
        pieces = self._pieces(command)
        # begun here, so that its end is carried out even if nobody reads on
        first = next(pieces, b"")
        return itertools.chain([first], pieces)

    def _command(self, query: Mapping[str, str]) -> list[str]:
        since, until = query.get("since") or _DEFAULT_SINCE, query.get("until")
        runtime_only = query.get("edge_runtime_only", "false").lower()
        if runtime_only not in ("true", "false"):
            raise HttpError(400, f"edge_runtime_only is {runtime_only!r}, expected true or false")
        now = self._clock.now()
        try:
            limits = [f"--since={point_in_time(since, now):.0f}"]
            limits += [f"--until={point_in_time(until, now):.0f}"] if until else []
        except ValueError as error:
            raise HttpError(400, str(error)) from error
        host = query.get("iothub_hostname")
        return [
            *self._program,
            *("--output=-", "--quiet", "--within-edged"),
            *(f"--engine={self._engine_uri}", f"--etc={self._etc}"),
            *limits,
            *(["--include-edge-runtime-only"] if runtime_only == "true" else []),
            *([f"--iothub-hostname={host}"] if host else []),
        ]

    def _pieces(self, command: Sequence[str]) -> Iterator[bytes]:
        try:
            with tempfile.TemporaryFile() as words:
                yield from self._run(command, words.fileno())
        finally:
            self._turn.release()

    def _run(self, command: Sequence[str], words: int) -> Iterator[bytes]:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            start_new_session=True,
        ) as process:
            stream = cast("BufferedReader", process.stdout)
            begun = False
            try:
                while piece := stream.read1(_READ_BYTES):
                    begun = True
                    yield piece
                status = process.wait()
            finally:
                _end(process)
        if status:
            said = os.pread(words, _WORDS, 0).decode("utf-8", "replace").strip()
            reason = said.removeprefix("skerry: ") or f"exit status {status}"
            self._log.warning("support bundle failed", reason=reason)
            if begun:
                raise BrokenBundleError(reason)
            raise WorkloadsError(f"the support bundle cannot be made: {reason}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the collector, which removes what it has begun, and then whatever it has started."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
