"""The worker of a build: its events become steps, its end and its errors become messages."""

import io
import json
import sys

import pytest

from skerry_factory.inside import Outlet
from skerry_factory.namespace import BuildFailedError, converse
from skerry_factory.progress import Progress


def worker(*lines: str) -> list[str]:
    """Return the command of a worker that reads its job and then says these lines."""
    script = "import sys; sys.stdin.readline(); sys.stdout.write(sys.argv[1]); sys.stdout.flush()"
    return [sys.executable, "-c", script, "".join(f"{line}\n" for line in lines)]


def events(work: str = "") -> list[str]:
    """Return what a worker sends that does one step and then gives a result."""
    stream = io.StringIO()
    outlet = Outlet(stream)
    outlet.note("a note")
    with outlet.step("disk", "small") as step:
        step.waits_for("the file systems")
        step.done_as("done" + work)
    outlet.send({"event": "result", "packages": 3})
    return stream.getvalue().splitlines()


def test_steps_and_result_come_through() -> None:
    """What is reported inside is shown outside, and the result is returned."""
    stream = io.StringIO()
    result = converse(worker(*events()), {}, Progress(stream))
    assert result["packages"] == 3
    shown = stream.getvalue().splitlines()
    assert shown[0] == "a note"
    assert shown[-1].startswith("  disk      small")
    assert shown[-1].endswith("ok   done")


def test_an_error_inside_is_the_error_outside() -> None:
    """The message of the worker is complete and is what a person sees."""
    line = json.dumps({"event": "result", "error": "no space left on device"})
    with pytest.raises(BuildFailedError, match=r"^no space left on device$"):
        converse(worker(line), {}, Progress.silent())


def test_a_worker_that_dies_is_reported_with_its_last_words() -> None:
    """Without a result the status and what it wrote to standard error are told; steps failed."""
    stream = io.StringIO()
    script = "import sys; sys.stdin.readline(); print(sys.argv[1]); sys.exit('out of memory')"
    begin = json.dumps({"event": "begin", "step": 1, "name": "roles", "detail": ""})
    with pytest.raises(BuildFailedError, match=r"ended with status 1\s+out of memory"):
        converse([sys.executable, "-c", script, begin], {}, Progress(stream))
    assert "failed" in stream.getvalue()
