"""What the agent remembers of a module, from one step and one start of its own to the next.

Pure. What is remembered decides how soon something is tried again; it never decides what a
container is made of.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from skerry.agent.deployment import spec_digest
from skerry.agent.model import (
    AGENT_MODULE,
    ENDED,
    Actual,
    Deployment,
    Memory,
    RestartPolicy,
    RuntimeStatus,
)
from skerry.agent.steps import Create, Start, Step, Stop

COOL_OFF = timedelta(seconds=10)
LONGEST_COOL_OFF = timedelta(seconds=300)
INTENSIVE_CARE = timedelta(minutes=10)


def delay_after(count: int) -> timedelta:
    """Return how long to wait before the next attempt after so many."""
    return min(COOL_OFF * (1 << min(count, 16)), LONGEST_COOL_OFF)


def before(step: Step, known: Memory) -> Memory:
    """Return the memory of a module before a step: a stop of ours is remembered as ours."""
    return replace(known, owed=True) if isinstance(step, Stop) else known


def after_success(step: Step, known: Memory, now: datetime) -> Memory:
    """Return the memory of a module after a step has been taken."""
    match step:
        case Create(module):
            return Memory(spec=spec_digest(module))
        case Start(_, again=True):
            return Memory(spec=known.spec, restarts=known.restarts + 1, last_restart=now)
        case Start():
            return Memory(spec=known.spec, restarts=known.restarts, last_restart=known.last_restart)
        case _:
            return replace(known, failures=0, last_failure=None, spec_tried=None, reason="")


def after_failure(step: Step, known: Memory, now: datetime, reason: str = "") -> Memory:
    """Return the memory of a module after a step has failed."""
    if isinstance(step, Start) and step.again:
        return replace(known, restarts=known.restarts + 1, last_restart=now, reason=reason)
    tried = spec_digest(step.module) if isinstance(step, Create) else known.spec
    failures = known.failures + 1 if known.spec_tried == tried else 1
    return replace(known, spec_tried=tried, failures=failures, last_failure=now, reason=reason)


def forgive(found: Actual, known: Memory, now: datetime) -> Memory:
    """Clear the restarts of a module that has been running long enough."""
    if found.status is not RuntimeStatus.RUNNING or found.started is None or not known.restarts:
        return known
    if now - found.started >= INTENSIVE_CARE:
        return replace(known, restarts=0, last_restart=None)
    return known


def after_absence(
    memory: Mapping[str, Memory],
    actual: Mapping[str, Actual],
    deployment: Deployment,
    *,
    booted: bool,
) -> dict[str, Memory]:
    """Return the memory of an agent that starts: nobody is blamed for what it did not see.

    After a boot that is everything that ended; else what ended between the agent's own end and its
    start, as `skerry system stop` brings it about.
    """
    known = {} if booted else dict(memory)
    for name, found in actual.items():
        former = known.get(name, Memory(spec=memory.get(name, Memory()).spec))
        missed = booted or _ended_without(actual.get(AGENT_MODULE), found)
        known[name] = replace(
            former, owed=former.owed or (missed and _is_for_restart(name, found, deployment))
        )
    return known


def _is_for_restart(name: str, found: Actual, deployment: Deployment) -> bool:
    module = deployment.modules.get(name)
    never = module is None or module.restart_policy is RestartPolicy.NEVER
    return not never and found.status in ENDED


def _ended_without(agent: Actual | None, found: Actual) -> bool:
    """Tell whether a module ended between the agent's last end and its start."""
    times = (None, None, None) if agent is None else (agent.exited, found.exited, agent.started)
    ended, module_ended, started = times
    if ended is None or module_ended is None or started is None:
        return False
    return ended <= module_ended <= started
