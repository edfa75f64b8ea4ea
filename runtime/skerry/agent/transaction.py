"""Deployments as transactions: from what is in force and what was seen to what is in force next.

Pure. Invariants
- `target` is all that containers are made to be: the trial from APPLYING until its end, else the
  good one. It changes in one step, so a kill at any moment leads to wholly new or wholly old.
- A deployment that failed is remembered by its digest and not begun again, until it changes or a
  person says so; what cannot be fetched is no failure of it: it stays in PREPARING, the old one in
  force, and is tried again.
- Another deployment that comes during a trial is prepared beside it and then takes its place; if it
  fails, it is the good one that comes back, never the one it took the place of.
- The first deployment has nothing to go back to: it is applied at once, gives way to any other, and
  counts as good when all of it is ready.
- Times within a phase are counted by one process: a reboot or a new clock shortens no trial.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

APPLY_SECONDS = 900.0
"""The longest that a deployment may take from its first step until all of it is ready."""

_MAX_HISTORY, _MAX_BAD = 50, 50


class Phase(StrEnum):
    """Where the deployment that is tried has got to."""

    IDLE = "idle"
    PREPARING = "preparing"
    APPLYING = "applying"
    TRIAL = "trial"


class Outcome(StrEnum):
    """How a deployment ended."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled-back"
    REFUSED = "refused"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class Candidate:
    """A deployment manifest, known by the digest of what it asks for; it may hold passwords."""

    digest: str
    version: int
    document: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True)
class Entry:
    """A line of the history."""

    digest: str
    version: int
    began: datetime
    ended: datetime
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class State:
    """What is kept on disk: `former` is what was good before `good`, `answered` a request's id."""

    phase: Phase = Phase.IDLE
    good: Candidate | None = None
    former: Candidate | None = None
    trial: Candidate | None = None
    began: datetime | None = None
    bad: Mapping[str, str] = field(default_factory=dict)
    history: tuple[Entry, ...] = ()
    answered: str = ""

    @property
    def target(self) -> Candidate | None:
        """Return what the containers shall be now."""
        return self.trial if self.phase in (Phase.APPLYING, Phase.TRIAL) else self.good


@dataclass(frozen=True)
class Request:
    """What a person asked for: `rollback`, or `retry` of what has failed before."""

    id: str
    action: str


@dataclass(frozen=True)
class Seen:
    """What one round saw; `elapsed` are the seconds since the phase began.

    `prepared` is the digest of a deployment whose images are all here, `unusable` why the one that
    is being prepared can never be used on this machine.
    """

    now: datetime
    elapsed: float = 0.0
    offered: Candidate | None = None
    refusal: str = ""
    prepared: str = ""
    unusable: str = ""
    trouble: str = ""
    settled: bool = False
    trial_seconds: float = 0.0
    request: Request | None = None


def advance(state: State, seen: Seen) -> State:
    """Return the next state; the same one when nothing happened."""
    if seen.request is not None and seen.request.id != state.answered:
        return replace(_asked(state, seen, seen.request), answered=seen.request.id)
    match state.phase:
        case Phase.IDLE | Phase.PREPARING:
            return _prepare(state, seen)
        case Phase.APPLYING if state.good is None:
            return _first(state, seen)
        case Phase.APPLYING:
            return _superseded(state, seen) or _apply(state, seen)
        case Phase.TRIAL:
            return _superseded(state, seen) or _try(state, seen)


def _prepare(state: State, seen: Seen) -> State:
    offered = seen.offered
    wanted = offered is not None and not _is_known(state, offered)
    if offered is not None and wanted and state.phase is Phase.IDLE:
        return _begin(state, seen, offered)
    if state.trial is None or state.phase is Phase.IDLE:
        return state
    if offered is not None and offered.digest != state.trial.digest:
        # Nothing has been touched yet, so another one may take its place.
        if wanted:
            return _begin(state, seen, offered)
        if _is_known(state, offered) and offered.digest not in state.bad:
            return _idle(state)
    if seen.unusable:
        return _failed(state, seen, Outcome.REFUSED, seen.unusable)
    return replace(state, phase=Phase.APPLYING) if seen.prepared == state.trial.digest else state


def _begin(state: State, seen: Seen, candidate: Candidate) -> State:
    begun = replace(state, trial=candidate, began=seen.now)
    if state.good is None:
        return replace(begun, phase=Phase.APPLYING)
    if seen.refusal:
        return _failed(begun, seen, Outcome.REFUSED, seen.refusal)
    return replace(begun, phase=Phase.PREPARING)


def _first(state: State, seen: Seen) -> State:
    offered = seen.offered
    if offered is not None and state.trial is not None and offered.digest != state.trial.digest:
        return _begin(state, seen, offered)
    return _committed(state, seen) if seen.settled else state


def _superseded(state: State, seen: Seen) -> State | None:
    """Give up a trial for another deployment that is ready to be applied."""
    offered = seen.offered
    if offered is None or state.trial is None or offered.digest == state.trial.digest:
        return None
    ended = _noted(state, seen, Outcome.SUPERSEDED, "another deployment came during its trial")
    if offered.digest in state.bad:
        return None
    if state.good is not None and offered.digest == state.good.digest:
        return _idle(ended)
    if seen.prepared != offered.digest:
        return None
    return replace(ended, trial=offered, began=seen.now, phase=Phase.APPLYING)


def _apply(state: State, seen: Seen) -> State:
    if seen.trouble:
        return _failed(state, seen, Outcome.ROLLED_BACK, seen.trouble)
    if seen.settled:
        return replace(state, phase=Phase.TRIAL)
    return _unless_late(state, seen, APPLY_SECONDS)


def _try(state: State, seen: Seen) -> State:
    if seen.trouble:
        return _failed(state, seen, Outcome.ROLLED_BACK, seen.trouble)
    if seen.settled and seen.elapsed >= seen.trial_seconds:
        return _committed(state, seen)
    return _unless_late(state, seen, seen.trial_seconds + APPLY_SECONDS)


def _unless_late(state: State, seen: Seen, limit: float) -> State:
    if seen.elapsed < limit:
        return state
    return _failed(state, seen, Outcome.ROLLED_BACK, f"not ready within {limit:g} s")


def _asked(state: State, seen: Seen, request: Request) -> State:
    if request.action == "retry":
        offered = seen.offered
        bad = {k: v for k, v in state.bad.items() if offered is None or k != offered.digest}
        return replace(state, bad=bad)
    if state.trial is not None and state.good is not None:
        return _failed(state, seen, Outcome.ROLLED_BACK, "rolled back by a person")
    if state.phase is Phase.IDLE and state.good is not None and state.former is not None:
        left = replace(state, bad=_remember(state, state.good, "rolled back by a person"))
        bad = {k: v for k, v in left.bad.items() if k != state.former.digest}
        return _begin(replace(left, bad=bad), replace(seen, refusal=""), state.former)
    return state


def _committed(state: State, seen: Seen) -> State:
    former = state.good or state.former
    return _idle(_noted(state, seen, Outcome.COMMITTED), good=state.trial, former=former)


def _failed(state: State, seen: Seen, outcome: Outcome, reason: str) -> State:
    noted = _noted(state, seen, outcome, reason)
    bad = state.bad if state.trial is None else _remember(state, state.trial, reason)
    return _idle(replace(noted, bad=bad))


def _idle(state: State, good: Candidate | None = None, former: Candidate | None = None) -> State:
    return replace(
        state,
        phase=Phase.IDLE,
        trial=None,
        began=None,
        good=good or state.good,
        former=former or state.former,
    )


def _noted(state: State, seen: Seen, outcome: Outcome, reason: str = "") -> State:
    if state.trial is None:
        return state
    began = state.began or seen.now
    entry = Entry(state.trial.digest, state.trial.version, began, seen.now, outcome, reason)
    return replace(state, history=(*state.history, entry)[-_MAX_HISTORY:])


def _remember(state: State, candidate: Candidate, reason: str) -> dict[str, str]:
    others = [(k, v) for k, v in state.bad.items() if k != candidate.digest]
    return dict([*others, (candidate.digest, reason)][-_MAX_BAD:])


def _is_known(state: State, offered: Candidate) -> bool:
    is_good = state.good is not None and offered.digest == state.good.digest
    return is_good or offered.digest in state.bad
