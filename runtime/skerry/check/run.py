"""Runs checks at once, each in a thread of its own, none for longer than its time.

A check waits for those that it needs; when one of them failed it is skipped, because it would only
tell the same again. After a fatal result nothing more is begun. Threads that are still stuck (in a
name server that never answers, say) are left behind: they are daemons and end with the process.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from skerry.base.errors import SettingsError, SkerryError
from skerry.base.program import describe_os_error
from skerry.check.appliance import Appliance
from skerry.check.model import Check, Finding, Outcome, Result, error, skipped

PATIENCE_SECONDS = 30.0
"""For the whole run; a healthy appliance needs a second."""

_AT_ONCE = 12


class _Run:
    def __init__(self, checks: Sequence[Check], appliance: Appliance, patience: float) -> None:
        self._checks = checks
        self._appliance = appliance
        self._deadline = time.monotonic() + patience
        self._patience = patience
        self._done = {check.id: threading.Event() for check in checks}
        self._outcomes: dict[str, Outcome] = {}
        self._turns = threading.Semaphore(_AT_ONCE)
        self._fatal = ""

    def all(self) -> list[Outcome]:
        for check in self._checks:
            threading.Thread(target=self._one, args=(check,), name=check.id, daemon=True).start()
        for event in self._done.values():
            event.wait(max(self._deadline - time.monotonic(), 0))
        # a thread that ends later finds its outcome in a dictionary that nobody reads
        found = dict(self._outcomes)
        return [found.get(check.id) or self._overdue(check) for check in self._checks]

    def _one(self, check: Check) -> None:
        for name in check.needs:
            if name in self._done:
                self._done[name].wait(max(self._deadline - time.monotonic(), 0))
        with self._turns:
            began = time.monotonic()
            finding = self._why_not(check) or _safely(check, self._appliance)
            if finding.result is Result.FATAL:
                self._fatal = check.id
            self._outcomes[check.id] = Outcome(check, finding, time.monotonic() - began)
        self._done[check.id].set()

    def _why_not(self, check: Check) -> Finding | None:
        if self._fatal:
            return skipped(f"nothing can be told before {self._fatal} is solved")
        for name in check.needs:
            needed = self._outcomes.get(name)
            if needed is not None and needed.finding.result in _NO_USE:
                return skipped(f"needs {name}")
        return None

    def _overdue(self, check: Check) -> Outcome:
        cause = f"the check did not end within {self._patience:.0f} s"
        remedy = "look at the other findings first, then run it alone"
        return Outcome(check, error(cause, remedy), self._patience)


_NO_USE = {Result.ERROR, Result.FATAL, Result.SKIPPED}


def run_checks(
    checks: Sequence[Check], appliance: Appliance, patience_seconds: float = PATIENCE_SECONDS
) -> list[Outcome]:
    """Run checks and return their outcomes in the same order."""
    return _Run(checks, appliance, patience_seconds).all()


def repair(
    outcomes: Sequence[Outcome],
    rerun: Callable[[Sequence[Check]], list[Outcome]],
    tell: Callable[[str], None],
) -> list[Outcome]:
    """Apply the fix of every outcome that has one, then run those checks again."""
    done: dict[str, str] = {}
    for outcome in outcomes:
        fix = outcome.finding.fix
        if fix is None or not outcome.finding.result.bad:
            continue
        try:
            fix.run()
        except (SkerryError, OSError) as problem:
            tell(f"{outcome.check.id}: not fixed: {problem}")
        else:
            done[outcome.check.id] = fix.does
            tell(f"{outcome.check.id}: {fix.does}")
    again = {found.check.id: found for found in _again(outcomes, done, rerun)}
    return [again.get(outcome.check.id, outcome) for outcome in outcomes]


def _again(
    outcomes: Sequence[Outcome],
    done: Mapping[str, str],
    rerun: Callable[[Sequence[Check]], list[Outcome]],
) -> list[Outcome]:
    if not done:
        return []
    # what failed or was skipped may be well now that something else is
    checks = [
        outcome.check
        for outcome in outcomes
        if outcome.finding.result.bad or outcome.finding.result is Result.SKIPPED
    ]
    return [
        Outcome(found.check, found.finding, found.seconds, done.get(found.check.id, ""))
        for found in rerun(checks)
    ]


def _safely(check: Check, appliance: Appliance) -> Finding:
    try:
        return check.run(appliance)
    except SettingsError as problem:
        return skipped(f"settings cannot be read, another check says why: {problem}")
    except OSError as problem:
        return error(describe_os_error(problem), "run it with sudo, or see the message")
    except SkerryError as problem:
        return error(str(problem), "see the message")
    except Exception as problem:  # the edge of a check: one bug must not hide the other findings
        cause = f"the check itself failed: {type(problem).__name__}: {problem}"
        return error(cause, "report it with a support bundle: sudo skerry support-bundle")
