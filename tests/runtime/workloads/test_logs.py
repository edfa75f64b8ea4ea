"""A followed log and the process that reads it."""

import os
import subprocess
import threading
from collections.abc import Iterator

from skerry.base.peer import Peer, start_ticks
from skerry.workloads.logs import while_reader_lives


class SilentLog:
    """One line, then nothing until it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield b"line"
        self.closed.wait(30)

    def close(self) -> None:
        self.closed.set()


def test_a_silent_log_ends_with_its_reader() -> None:
    """When the reading process ends, the log is closed although its module says nothing."""
    reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    log = SilentLog()
    peer = Peer(reader.pid, 0, 0, start_ticks(reader.pid))
    pieces = while_reader_lives(log, peer, check_seconds=0.02)
    assert next(pieces) == b"line"
    assert not log.closed.is_set()
    reader.communicate()
    assert list(pieces) == []
    assert log.closed.is_set()


def test_a_log_is_closed_when_its_reader_stops_reading() -> None:
    """Giving up the rest of a log frees the engine's connection at once."""
    log = SilentLog()
    pieces = while_reader_lives(log, Peer(os.getpid(), 0, 0, start_ticks(os.getpid())))
    assert next(pieces) == b"line"
    pieces.close()  # type: ignore[attr-defined]  # what a server does with a generator
    assert log.closed.is_set()
