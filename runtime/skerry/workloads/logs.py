"""A module's output on its way to a reader that may go away without a word.

A silent module's log would otherwise hold a connection of the reader's budget for ever.
"""

import threading
from collections.abc import Iterator

from skerry.base.peer import Peer, still_same
from skerry.engine.model import LogStream

_CHECK_SECONDS = 5.0


def while_reader_lives(
    stream: LogStream, reader: Peer, check_seconds: float = _CHECK_SECONDS
) -> Iterator[bytes]:
    """Pass a log on, and end it when its reader's process has gone although nothing is written."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(check_seconds):
            if not still_same(reader):
                stream.close()
                return

    threading.Thread(target=watch, name="log reader", daemon=True).start()
    try:
        yield from stream
    finally:
        ended.set()
        stream.close()
