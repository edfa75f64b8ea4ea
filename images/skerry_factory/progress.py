"""What a person sees while the factory works: one line per step, and what it waits for.

On a terminal the current line is redrawn every second; elsewhere there is a plain line when a step
starts to wait for something (at most one in 5 s), a reminder every 30 s, and one when it ends.
Steps run in parallel in threads too: the live line then shows the step that was touched last.
Nothing here decides anything; a failing display never fails a build. `Progress.silent()` is for
callers that show nothing.

    with progress.step("boot", "QEMU, OVMF, TPM 2.0") as step:
        step.waits_for("the login prompt")
        step.done_as("no usable KVM: emulated")
"""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, TextIO

REMINDER_SECONDS = 30.0
QUIET_SECONDS = 5.0
REDRAW_SECONDS = 1.0
NAME_WIDTH = 10
DETAIL_WIDTH = 30


class StepReporter(Protocol):
    """What the code that does the work may say about its step."""

    def waits_for(self, what: str) -> None:
        """Say what the step is waiting for from now on."""

    def done_as(self, outcome: str) -> None:
        """Set the text that follows `ok` on the step's last line."""


class Reporter(Protocol):
    """Where steps are reported to: a display, or the command outside of a build's namespace."""

    def step(self, name: str, detail: str = "") -> AbstractContextManager[StepReporter]:
        """Report one step from its start to its end, however it ends."""

    def note(self, text: str) -> None:
        """Report something that belongs to no step."""


@dataclass
class Step:
    """One running step; the code that does the work tells it what it waits for and how it ended."""

    name: str
    detail: str
    started: float
    display: "Progress"
    waiting: str = ""
    outcome: str = ""
    spoken: float = float("-inf")

    def waits_for(self, what: str) -> None:
        """Say what the step is waiting for from now on."""
        if what != self.waiting:
            self.waiting = what
            self.display._touched(self)

    def done_as(self, outcome: str) -> None:
        """Set the text that follows `ok` on the step's last line."""
        self.outcome = outcome

    @property
    def seconds(self) -> float:
        """Seconds since the step started."""
        return time.monotonic() - self.started


class Progress:
    """Writes the lines; safe to use from several threads."""

    def __init__(self, stream: TextIO, *, live: bool = False, colour: bool = False) -> None:
        self._stream = stream
        self._live = live
        self._colour = colour
        self._lock = threading.Lock()
        self._running: list[Step] = []
        self._drawn = False
        self._wake = threading.Condition(self._lock)
        self._ticker: threading.Thread | None = None

    @classmethod
    def silent(cls) -> "Progress":
        """Return a display that shows nothing."""
        return cls(io.StringIO())

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[Step]:
        """Show one step from its start to its end, however it ends."""
        step = Step(name, detail, time.monotonic(), self)
        self._begin(step)
        verdict = "failed"
        try:
            yield step
            verdict = "ok"
        finally:
            self._end(step, verdict)

    def note(self, text: str) -> None:
        """Write one line that belongs to no step, such as a warning."""
        with self._lock:
            self._write(text)

    def _begin(self, step: Step) -> None:
        with self._lock:
            self._running.append(step)
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress")
                self._ticker.start()
            if self._live:
                self._redraw()

    def _touched(self, step: Step) -> None:
        with self._lock:
            if step in self._running:
                self._running.remove(step)
                self._running.append(step)
            if self._live:
                self._redraw()
            elif time.monotonic() - step.spoken >= QUIET_SECONDS:
                self._write(_waiting_line(step))
                step.spoken = time.monotonic()

    def _end(self, step: Step, verdict: str) -> None:
        with self._lock:
            self._running.remove(step)
            self._write(self._final_line(step, verdict))
            if self._live and self._running:
                self._redraw()
            if not self._running:
                self._ticker = None
                self._wake.notify_all()

    def _tick(self) -> None:
        me = threading.current_thread()
        with self._lock:
            while self._ticker is me:
                self._wake.wait(REDRAW_SECONDS)
                if self._ticker is not me:
                    return
                if self._live:
                    self._redraw()
                else:
                    self._remind()

    def _remind(self) -> None:
        now = time.monotonic()
        for step in self._running:
            if now - max(step.spoken, step.started) >= REMINDER_SECONDS:
                step.spoken = now
                self._write(_waiting_line(step))

    def _redraw(self) -> None:
        if self._running:
            line = _waiting_line(self._running[-1])
            with suppress(OSError, ValueError):
                self._stream.write("\r\x1b[K" + line[:118])
                self._stream.flush()
            self._drawn = True

    def _write(self, line: str) -> None:
        erase = "\r\x1b[K" if self._drawn else ""
        self._drawn = False
        with suppress(OSError, ValueError):
            self._stream.write(f"{erase}{line}\n")
            self._stream.flush()

    def _final_line(self, step: Step, verdict: str) -> str:
        shown = verdict
        if self._colour:
            shown = f"\x1b[{32 if verdict == 'ok' else 31}m{verdict}\x1b[0m"
        head = f"  {step.name:<{NAME_WIDTH}}{step.detail:<{DETAIL_WIDTH}}"
        told = step.outcome
        if verdict != "ok" and step.waiting:
            told = f"while waiting for {step.waiting}"
        return f"{head}{step.seconds:7.1f} s   {shown}   {told}".rstrip()


def _waiting_line(step: Step) -> str:
    about = f": waiting for {step.waiting}" if step.waiting else ""
    return f"  {step.name:<{NAME_WIDTH}}{step.detail}{about} ({step.seconds:.0f} s)"
