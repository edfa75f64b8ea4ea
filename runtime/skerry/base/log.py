"""Log lines for the journal: a constant message, then the facts as key=value fields.

A line begins with `<n>`, the syslog priority that journald strips and stores. Secrets are `Secret`,
a string type that prints as three stars wherever it ends up in a message.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from skerry.base.clock import Clock

_PRIORITIES = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}
_LEVELS = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}


STEP_MARK = "SKERRY_STEP "
"""What a line of the timeline begins with; JSON follows."""


class Secret(str):
    """A string that must not be shown; `reveal()` is the only way to its value in text."""

    __slots__ = ()

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def reveal(self) -> str:
        """Return the value."""
        return str.__str__(self)


class Logger:
    """Writes constant messages with fields."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, message: str, **fields: object) -> None:
        self._write(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: object) -> None:
        self._write(logging.INFO, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        self._write(logging.WARNING, message, fields)

    def error(self, message: str, **fields: object) -> None:
        self._write(logging.ERROR, message, fields)

    def exception(self, message: str, error: BaseException | None = None, **fields: object) -> None:
        """Log an unexpected exception with its traceback, at the edge of a request or process.

        Without `error` it is the one that is being handled.
        """
        self._write(logging.ERROR, message, fields, trace=error or True)

    def _write(
        self,
        level: int,
        message: str,
        fields: dict[str, object],
        *,
        trace: bool | BaseException = False,
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", _render(message, fields), exc_info=trace)


def get_logger(name: str) -> Logger:
    """Return the logger of a module; `name` is its domain, such as "keyd"."""
    return Logger(logging.getLogger(f"skerry.{name}"))


def setup(service: str) -> None:
    """Log to standard error; SKERRY_LOG sets the level (error, warn, info, debug)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JournalFormatter())
    root = logging.getLogger("skerry")
    root.handlers = [handler]
    root.propagate = False
    wanted = os.environ.get("SKERRY_LOG", "info")
    root.setLevel(_LEVELS.get(wanted, logging.INFO))
    if wanted not in _LEVELS:
        get_logger(service).warning(
            "SKERRY_LOG is not a level", value=wanted, expected="error warn info debug"
        )


@contextmanager
def step(logger: Logger, clock: Clock, service: str, name: str, **fields: object) -> Iterator[None]:
    """Time one step of the bootstrap; `skerry status --timeline` collects these lines."""
    start = clock.monotonic()
    yield
    record = {
        "time": clock.now().isoformat(timespec="milliseconds"),
        "service": service,
        "step": name,
        "seconds": round(clock.monotonic() - start, 3),
        "detail": {key: str(value) for key, value in fields.items()},
    }
    line = STEP_MARK + json.dumps(record)
    logger.info(line)


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in text.splitlines())


def _render(message: str, fields: dict[str, object]) -> str:
    return " ".join([message, *(f"{key}={_field(value)}" for key, value in fields.items())])


def _field(value: object) -> str:
    text = str(value)
    plain = text and all(char.isprintable() and char not in ' "=' for char in text)
    return text if plain else json.dumps(text)
