"""The progress display: plain lines, live lines, colours, failures."""

import io
import re

import pytest

from skerry_factory.progress import Progress


def shown(stream: io.StringIO) -> list[str]:
    return [re.sub(r"\d+\.\d s", "T", line) for line in stream.getvalue().splitlines()]


def test_plain_lines_tell_what_is_waited_for_and_how_it_ended() -> None:
    """Off a terminal each new thing waited for is a line, and the end is one."""
    stream = io.StringIO()
    with Progress(stream).step("boot", "QEMU") as step:
        step.waits_for("the login prompt")
        step.waits_for("the login prompt")
        step.done_as("emulated")
    assert shown(stream) == [
        "  boot      QEMU: waiting for the login prompt (0 s)",
        "  boot      QEMU                              T   ok   emulated",
    ]


def test_failure_names_what_was_waited_for() -> None:
    """A step that raises ends as failed, with its last wait."""
    stream = io.StringIO()

    def work() -> None:
        with Progress(stream).step("boot") as step:
            step.waits_for("SSH")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        work()
    assert shown(stream)[-1].endswith("failed   while waiting for SSH")


def test_no_escape_codes_off_a_terminal() -> None:
    """Plain output has no control characters."""
    stream = io.StringIO()
    with Progress(stream).step("a") as step:
        step.waits_for("b")
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_live_line_is_erased_by_the_final_one() -> None:
    """On a terminal the waiting line is drawn in place and gone at the end."""
    stream = io.StringIO()
    with Progress(stream, live=True).step("a") as step:
        step.waits_for("b")
    last = stream.getvalue().rpartition("\r\x1b[K")[2]
    assert re.fullmatch(r"  a +\d+\.\d s   ok\n", last)


def test_colour_only_when_asked() -> None:
    """NO_COLOR is respected by not asking for colour."""
    stream = io.StringIO()
    with Progress(stream, live=True, colour=True).step("a"):
        pass
    assert "\x1b[32mok\x1b[0m" in stream.getvalue()


def test_a_closed_stream_does_not_fail_the_work() -> None:
    """The display never decides whether a build succeeds."""
    stream = io.StringIO()
    stream.close()
    with Progress(stream).step("a") as step:
        step.waits_for("b")
    assert step.seconds >= 0
