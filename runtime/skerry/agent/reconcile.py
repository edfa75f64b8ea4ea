"""The heart of the agent: from wanted and actual modules to the next steps, without I/O.

Rules
- A module that runs as it was wanted is never touched.
- What is no longer wanted goes first; then modules come in the order of `startupOrder`, and within
  it after those they depend on. The next order waits until every module of the former one was at
  least started, or failed, or waits itself.
- A module waits until everything it depends on runs, or has ended well and for good.
- A module that ended is started again as its policy says, min(10 s * 2^n, 300 s) after it ended;
  after 20 restarts it counts as failed. Ten minutes of running clear the count.
- What ended with the machine, while the agent was away or by its own hand is owed a start: at once
  and uncounted.
- A step that failed is tried again with the same growing delay, and never holds up others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from skerry.agent.deployment import spec_digest
from skerry.agent.memory import delay_after
from skerry.agent.model import (
    AGENT_MODULE,
    ENDED,
    Actual,
    Deployment,
    Memory,
    RestartPolicy,
    RuntimeStatus,
    Status,
    Wanted,
)
from skerry.agent.steps import Create, Remove, Start, Step, Stop

MAX_RESTARTS = 20


@dataclass(frozen=True)
class Outlook:
    """The next steps, the state of each module with a word on it, and when to look again."""

    steps: tuple[Step, ...]
    states: Mapping[str, RuntimeStatus]
    due: datetime | None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Verdict:
    state: RuntimeStatus
    step: Step | None = None
    due: datetime | None = None
    note: str = ""


def reconcile(
    deployment: Deployment,
    actual: Mapping[str, Actual],
    memory: Mapping[str, Memory],
    now: datetime,
    unready: frozenset[str] = frozenset(),
) -> Outlook:
    """Return what to do next; what comes after modules that are `unready` waits for them."""
    verdicts: dict[str, _Verdict] = {}
    for name in sorted(actual):
        if not _is_wanted(name, deployment):
            known = memory.get(name, Memory())
            verdicts[name] = _unless_cooling(Remove(name), known.spec, actual[name], known, now)
    settled = True
    order: int | None = None
    for module in in_order(deployment):
        found = actual.get(module.name)
        if not settled and module.startup_order != order:
            verdicts[module.name] = _Verdict(_state_of(found), note=_note(found))
            continue
        order = module.startup_order
        verdict = _judge(
            module, deployment, actual, memory.get(module.name, Memory()), now, unready
        )
        verdicts[module.name] = verdict
        settled = settled and verdict.step is None and module.name not in unready
    return Outlook(
        steps=tuple(verdict.step for verdict in verdicts.values() if verdict.step is not None),
        states={name: verdict.state for name, verdict in verdicts.items()},
        due=min((verdict.due for verdict in verdicts.values() if verdict.due), default=None),
        notes={name: verdict.note for name, verdict in verdicts.items() if verdict.note},
    )


def in_order(deployment: Deployment) -> list[Wanted]:
    """Return the modules by startup order, each after those it depends on."""
    placed: list[Wanted] = []
    waiting = sorted(deployment.modules.values(), key=lambda m: (m.startup_order, m.name))
    while waiting:
        names = {module.name for module in waiting}
        ready = next(m for m in waiting if not set(m.depends_on) & names)
        placed.append(ready)
        waiting.remove(ready)
    return placed


def _is_wanted(name: str, deployment: Deployment) -> bool:
    return name == AGENT_MODULE or name in deployment.modules or name in deployment.refused


def _judge(
    module: Wanted,
    deployment: Deployment,
    actual: Mapping[str, Actual],
    known: Memory,
    now: datetime,
    unready: frozenset[str],
) -> _Verdict:
    found = actual.get(module.name)
    if found is None or found.status is not RuntimeStatus.RUNNING:
        missing = _missing_dependency(module, deployment, actual, unready)
        if missing is not None:
            note = f"waits for {missing!r}, which it depends on, to run and be ready"
            return _Verdict(_state_of(found), note=note)
    digest = spec_digest(module)
    if found is None or _is_another(found, module, known, digest):
        return _unless_cooling(Create(module), digest, found, known, now)
    if module.status is Status.STOPPED:
        if found.status is not RuntimeStatus.RUNNING:
            return _Verdict(found.status, note=_note(found))
        return _unless_cooling(Stop(module.name), known.spec, found, known, now)
    if found.status is RuntimeStatus.RUNNING:
        return _Verdict(RuntimeStatus.RUNNING, note=_note(found))
    never_started = found.exited is None and found.started is None
    if never_started or (known.owed and found.status in ENDED):
        start = Start(module.name, again=False)
        return _unless_cooling(start, known.spec, found, known, now)
    return _judge_ended(module, found, known, now)


def _missing_dependency(
    module: Wanted,
    deployment: Deployment,
    actual: Mapping[str, Actual],
    unready: frozenset[str],
) -> str | None:
    if module.status is Status.STOPPED:
        return None
    for name in module.depends_on:
        found = actual.get(name)
        if found is None or name in unready:
            return name
        is_over = (
            found.status is RuntimeStatus.STOPPED
            and found.exit_code == 0
            and not _restarts(deployment.modules[name].restart_policy, found)
        )
        if found.status is not RuntimeStatus.RUNNING and not is_over:
            return name
    return None


def _is_another(found: Actual, module: Wanted, known: Memory, digest: str) -> bool:
    """Tell whether a container has to be replaced; with no digest known, its image decides."""
    made_from = found.digest or known.spec
    return (
        found.status is RuntimeStatus.DEAD
        or found.image != module.image
        or made_from not in (None, digest)
    )


def _judge_ended(module: Wanted, found: Actual, known: Memory, now: datetime) -> _Verdict:
    if not _restarts(module.restart_policy, found):
        return _Verdict(found.status, note=_note(found))
    told = known.reason or f"ended with status {found.exit_code}"
    if known.restarts >= MAX_RESTARTS:
        note = f"{told}; not started again after {MAX_RESTARTS} restarts"
        return _Verdict(RuntimeStatus.FAILED, note=note)
    ended = max(filter(None, (found.exited, known.last_restart)), default=now)
    # a clock that was set back must not hold a module up for longer than the longest delay
    due = min(ended, now) + delay_after(known.restarts)
    note = f"{told}; restart {known.restarts + 1} of {MAX_RESTARTS} is due at {_clock(due)}"
    if due > now:
        return _Verdict(RuntimeStatus.BACKOFF, due=due, note=note)
    return _Verdict(RuntimeStatus.BACKOFF, Start(module.name, again=True), note=note)


def _restarts(policy: RestartPolicy, found: Actual) -> bool:
    if found.status not in ENDED:
        return False
    match policy:
        case RestartPolicy.NEVER:
            return False
        case RestartPolicy.ALWAYS:
            return True
        case RestartPolicy.ON_FAILURE | RestartPolicy.ON_UNHEALTHY:
            return found.status is not RuntimeStatus.STOPPED or found.exit_code not in (0, None)


def _unless_cooling(
    step: Step, digest: str | None, found: Actual | None, known: Memory, now: datetime
) -> _Verdict:
    """Take a step that may have failed before, but not too soon after that."""
    if known.failures and known.spec_tried == digest and known.last_failure is not None:
        due = min(known.last_failure, now) + delay_after(known.failures - 1)
        if due > now:
            is_running = found is not None and found.status is RuntimeStatus.RUNNING
            state = RuntimeStatus.RUNNING if is_running else RuntimeStatus.FAILED
            return _Verdict(state, due=due, note=f"{known.reason}; next try at {_clock(due)}")
    return _Verdict(_state_of(found), step)


def _state_of(found: Actual | None) -> RuntimeStatus:
    return RuntimeStatus.UNKNOWN if found is None else found.status


def _note(found: Actual | None) -> str:
    return "" if found is None else found.description


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
