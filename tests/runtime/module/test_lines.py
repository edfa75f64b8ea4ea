"""Log lines of a module, in upstream's form."""

import io
import logging

import pytest

from skerry.base.log import get_logger
from skerry.module.lines import log_to


@pytest.mark.parametrize(
    ("level", "expected"),
    [("Debug", 3), ("Information", 2), ("nonsense", 2), ("Warning", 1), ("error", 0)],
)
def test_the_level_of_the_log_is_upstreams(level: str, expected: int) -> None:
    """`RuntimeLogLevel` takes upstream's names; an unknown one counts as information."""
    stream = io.StringIO()
    log_to(stream, level)
    log = get_logger("agent")
    log.debug("one")
    log.info("two")
    log.warning("three", module="a b")
    lines = stream.getvalue().splitlines()
    logging.getLogger("skerry").handlers.clear()
    assert len(lines) == expected
    if lines:
        assert lines[-1].startswith("<4> ")
        assert lines[-1].endswith('[WRN] - three module="a b"')
