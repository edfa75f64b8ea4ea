"""The process inside the namespaces of a build: takes one job, reports steps, gives one result.

It is process 1 of its PID namespace: when it ends, however it ends, the kernel ends every process
of the build, and with the last of them its mounts are gone. It ends when its standard input does.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from skerry.base.errors import SkerryError
from skerry.base.program import describe_os_error
from skerry_factory.pipeline import Job, build_in_namespace


class RemoteStep:
    """One step, shown by the command outside."""

    def __init__(self, outlet: "Outlet", number: int) -> None:
        self._outlet = outlet
        self._number = number
        self.outcome = ""

    def waits_for(self, what: str) -> None:
        self._outlet.send({"event": "waits", "step": self._number, "text": what})

    def done_as(self, outcome: str) -> None:
        self.outcome = outcome


class Outlet:
    """Sends events as JSON lines; safe to use from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._steps = 0

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[RemoteStep]:
        with self._lock:
            self._steps += 1
            number = self._steps
        step = RemoteStep(self, number)
        self.send({"event": "begin", "step": number, "name": name, "detail": detail})
        ok = False
        try:
            yield step
            ok = True
        finally:
            self.send({"event": "end", "step": number, "ok": ok, "text": step.outcome})

    def note(self, text: str) -> None:
        self.send({"event": "note", "text": text})

    def send(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            self._stream.write(json.dumps(event) + "\n")
            self._stream.flush()


def main() -> int:
    """Do the job that standard input describes."""
    # what a library prints must not land between the events
    outlet = Outlet(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    # the modes of what is written must not be the operator's affair
    os.umask(0o022)
    job = Job.from_json(json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        result = build_in_namespace(job, outlet, _end_programs)
    except SkerryError as error:
        outlet.send({"event": "result", "error": str(error)})
        return 1
    except OSError as error:
        outlet.send({"event": "result", "error": describe_os_error(error)})
        return 1
    outlet.send({"event": "result", **result})
    return 0


def _end_programs() -> None:
    """End every other process of the namespace; elsewhere than as its first process do nothing."""
    if os.getpid() == 1:
        os.kill(-1, signal.SIGKILL)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
