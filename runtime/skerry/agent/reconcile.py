"""The heart of the agent: from wanted and actual modules to the next steps, without I/O.

Rules
- A module that runs as it was wanted is never touched.
- What is no longer wanted goes first; then modules come in the order of `startupOrder`, and within
  it after those they depend on. A module waits until everything it depends on runs; the next order
  waits until every module of the former one was at least started, or failed, or waits itself.
- A module that ended is started again as its policy says, min(10 s * 2^n, 300 s) after it ended;
  after 20 restarts it counts as failed. Ten minutes of running clear the count.
- A creation that failed is tried again with the same growing delay, and never holds up others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from skerry.agent.deployment import spec_digest
from skerry.agent.model import (
    AGENT_MODULE,
    Actual,
    Deployment,
    Memory,
    RestartPolicy,
    RuntimeStatus,
    Status,
    Wanted,
)

COOL_OFF = timedelta(seconds=10)
LONGEST_COOL_OFF = timedelta(seconds=300)
MAX_RESTARTS = 20
INTENSIVE_CARE = timedelta(minutes=10)
_ENDED = (RuntimeStatus.STOPPED, RuntimeStatus.FAILED)


@dataclass(frozen=True)
class Remove:
    """Remove a container and its identity."""

    name: str


@dataclass(frozen=True)
class Create:
    """Create a container, replacing one of the same name, and start it if it shall run."""

    module: Wanted


@dataclass(frozen=True)
class Start:
    """Start a container that was stopped, or restart one that ended."""

    name: str
    again: bool


@dataclass(frozen=True)
class Stop:
    """Stop a running container."""

    name: str


Step = Remove | Create | Start | Stop


@dataclass(frozen=True)
class Outlook:
    """The next steps, the state of each module to report, and when to look again at the latest."""

    steps: tuple[Step, ...]
    states: Mapping[str, RuntimeStatus]
    due: datetime | None


def reconcile(
    deployment: Deployment,
    actual: Mapping[str, Actual],
    memory: Mapping[str, Memory],
    now: datetime,
) -> Outlook:
    """Return what to do next."""
    steps: list[Step] = [
        Remove(name)
        for name in sorted(actual)
        if name != AGENT_MODULE
        and name not in deployment.modules
        and name not in deployment.refused
    ]
    states: dict[str, RuntimeStatus] = {}
    due: list[datetime] = []
    settled = True
    previous_order: int | None = None
    for module in in_order(deployment):
        if not settled and module.startup_order != previous_order:
            states[module.name] = _state_of(actual.get(module.name))
            continue
        previous_order = module.startup_order
        found = actual.get(module.name)
        known = memory.get(module.name, Memory())
        if _must_wait(module, actual):
            states[module.name] = _state_of(found)
            continue
        verdict = _judge(module, found, known, now)
        states[module.name] = verdict.state
        if verdict.step is not None:
            steps.append(verdict.step)
        if verdict.due is not None:
            due.append(verdict.due)
        settled = settled and verdict.step is None
    return Outlook(tuple(steps), states, min(due, default=None))


def in_order(deployment: Deployment) -> list[Wanted]:
    """Return the modules by startup order and, within one order, dependencies first."""
    placed: list[Wanted] = []
    waiting = sorted(deployment.modules.values(), key=lambda m: (m.startup_order, m.name))
    while waiting:
        names = {module.name for module in waiting}
        ready = next(m for m in waiting if not set(m.depends_on) & names)
        placed.append(ready)
        waiting.remove(ready)
    return placed


def delay_after(count: int) -> timedelta:
    """Return how long to wait before the next attempt after so many."""
    return min(COOL_OFF * (1 << min(count, 16)), LONGEST_COOL_OFF)


def after_success(step: Step, known: Memory, now: datetime) -> Memory:
    """Return the memory of a module after a step has been taken."""
    match step:
        case Create(module):
            return Memory(spec=spec_digest(module))
        case Start(_, again=True):
            return replace(known, restarts=known.restarts + 1, last_restart=now)
        case _:
            return known


def after_failure(step: Step, known: Memory, now: datetime) -> Memory:
    """Return the memory of a module after a step has failed."""
    tried = spec_digest(step.module) if isinstance(step, Create) else known.spec
    failures = known.failures + 1 if known.spec_tried == tried else 1
    return replace(known, spec_tried=tried, failures=failures, last_failure=now)


def forgive(found: Actual, known: Memory, now: datetime) -> Memory:
    """Clear the restarts of a module that has been running long enough."""
    if found.status is not RuntimeStatus.RUNNING or found.started is None or not known.restarts:
        return known
    if now - found.started >= INTENSIVE_CARE:
        return replace(known, restarts=0, last_restart=None)
    return known


@dataclass(frozen=True)
class _Verdict:
    state: RuntimeStatus
    step: Step | None = None
    due: datetime | None = None


def _judge(module: Wanted, found: Actual | None, known: Memory, now: datetime) -> _Verdict:
    digest = spec_digest(module)
    if found is None or _is_another(found, module, known, digest):
        return _after_cool_off(Create(module), digest, found, known, now)
    if module.status is Status.STOPPED:
        running = found.status is RuntimeStatus.RUNNING
        return _Verdict(found.status, Stop(module.name) if running else None)
    if found.status is RuntimeStatus.RUNNING:
        return _Verdict(RuntimeStatus.RUNNING)
    if found.exited is None and found.started is None:
        return _after_cool_off(Start(module.name, again=False), known.spec, found, known, now)
    return _judge_ended(module, found, known, now)


def _is_another(found: Actual, module: Wanted, known: Memory, digest: str) -> bool:
    """Tell whether a container has to be replaced; without memory its image decides."""
    return (
        found.status is RuntimeStatus.DEAD
        or found.image != module.image
        or known.spec not in (None, digest)
    )


def _judge_ended(module: Wanted, found: Actual, known: Memory, now: datetime) -> _Verdict:
    if not _restarts(module.restart_policy, found):
        return _Verdict(found.status)
    if known.restarts >= MAX_RESTARTS:
        return _Verdict(RuntimeStatus.FAILED)
    ended = max(filter(None, (found.exited, known.last_restart)), default=now)
    # a clock that was set back must not hold a module up for longer than the longest delay
    due = min(ended, now) + delay_after(known.restarts)
    if due > now:
        return _Verdict(RuntimeStatus.BACKOFF, due=due)
    return _Verdict(RuntimeStatus.BACKOFF, Start(module.name, again=True))


def _restarts(policy: RestartPolicy, found: Actual) -> bool:
    if found.status not in _ENDED:
        return False
    match policy:
        case RestartPolicy.NEVER:
            return False
        case RestartPolicy.ALWAYS:
            return True
        case RestartPolicy.ON_FAILURE | RestartPolicy.ON_UNHEALTHY:
            return found.status is not RuntimeStatus.STOPPED or found.exit_code not in (0, None)


def _after_cool_off(
    step: Step, digest: str | None, found: Actual | None, known: Memory, now: datetime
) -> _Verdict:
    """Take a step that may have failed before, but not too soon after that."""
    if known.failures and known.spec_tried == digest and known.last_failure is not None:
        due = min(known.last_failure, now) + delay_after(known.failures - 1)
        if due > now:
            return _Verdict(RuntimeStatus.FAILED, due=due)
    return _Verdict(_state_of(found), step)


def _must_wait(module: Wanted, actual: Mapping[str, Actual]) -> bool:
    """A module that does not run yet waits for those that it depends on."""
    found = actual.get(module.name)
    if found is not None and found.status is RuntimeStatus.RUNNING:
        return False
    return any(
        name not in actual or actual[name].status is not RuntimeStatus.RUNNING
        for name in module.depends_on
    )


def _state_of(found: Actual | None) -> RuntimeStatus:
    return RuntimeStatus.UNKNOWN if found is None else found.status
