"""What edged says while it waits: each trouble once, and that it is over."""

import logging

from skerry.base.log import get_logger
from skerry.workloads.supervisor import Complaints


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_a_trouble_is_said_once_and_its_end_too() -> None:
    """The same reason again is silent, another one is said, and so is the end, once."""
    lines = Lines()
    logger = logging.getLogger("skerry.complaints")
    logger.setLevel(logging.INFO)
    logger.addHandler(lines)
    complaints = Complaints(get_logger("complaints"))
    complaints.over("agent")
    for reason in ("no image", "no image", "no space"):
        complaints.about("agent", OSError(reason))
    complaints.over("agent")
    complaints.over("agent")
    logger.removeHandler(lines)
    assert lines.lines == [
        'waiting step=agent reason="no image"',
        'waiting step=agent reason="no space"',
        "no longer waiting step=agent",
    ]
