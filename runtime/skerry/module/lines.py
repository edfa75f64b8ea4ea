"""Log lines as upstream's tools read them: `<6> 2026-01-31 12:00:00.000 +00:00 [INF] - message`."""

import logging
from datetime import UTC, datetime
from typing import TextIO

_MARKS = {
    logging.CRITICAL: (0, "FTL"),
    logging.ERROR: (3, "ERR"),
    logging.WARNING: (4, "WRN"),
    logging.INFO: (6, "INF"),
    logging.DEBUG: (7, "DBG"),
}
_LEVELS = {
    "fatal": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "information": logging.INFO,
    "debug": logging.DEBUG,
    "verbose": logging.DEBUG,
}


def log_to(stream: TextIO, level: str) -> None:
    """Send the lines of Skerry's loggers to a stream; an unknown level counts as information."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_LineFormatter())
    root = logging.getLogger("skerry")
    root.handlers = [handler]
    root.propagate = False
    root.setLevel(_LEVELS.get(level.lower(), logging.INFO))


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        severity, mark = _MARKS.get(record.levelno, _MARKS[logging.INFO])
        moment = datetime.fromtimestamp(record.created, UTC)
        milliseconds = moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        prefix = f"<{severity}> {milliseconds} +00:00 [{mark}] - "
        return "\n".join(prefix + line for line in super().format(record).splitlines())
