"""The state machine of deployments: wholly new or wholly old, whatever is seen."""

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.agent.transaction import (
    APPLY_SECONDS,
    Candidate,
    Outcome,
    Phase,
    Request,
    Seen,
    State,
    advance,
)
from skerry.agent.transaction_store import TransactionStore
from skerry.base.log import get_logger

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
A, B, C = (Candidate(name, number, {"n": name}) for number, name in enumerate("abc"))
OFFERS = st.sampled_from([None, A, B, C])

seen_things = st.builds(
    Seen,
    now=st.just(NOW),
    elapsed=st.sampled_from([0.0, 31.0, 5000.0]),
    offered=OFFERS,
    refusal=st.sampled_from(["", "", "", "bad schema"]),
    prepared=st.sampled_from(["", "a", "b", "c"]),
    trouble=st.sampled_from(["", "", "crashed"]),
    settled=st.booleans(),
    trial_seconds=st.sampled_from([0.0, 30.0]),
    request=st.sampled_from(
        [None, None, Request("1", "rollback"), Request("2", "retry"), Request("3", "rollback")]
    ),
)


def committed(candidate: Candidate) -> State:
    """Return the state of a device on which a deployment is in force."""
    first = advance(State(), Seen(NOW, offered=candidate))
    return advance(first, Seen(NOW, offered=candidate, settled=True))


def applying() -> State:
    """Return the state of a device that goes from A to B."""
    preparing = advance(committed(A), Seen(NOW, offered=B))
    return advance(preparing, Seen(NOW, offered=B, prepared="b"))


@settings(max_examples=400, deadline=None)
@given(st.lists(seen_things, max_size=25), OFFERS)
def test_any_course_of_events_ends_wholly_new_or_wholly_old(
    events: list[Seen], last: Candidate | None
) -> None:
    """The target changes only as a whole, and time alone brings every trial to an end."""
    state = State()
    for seen in events:
        former, state = state, advance(state, seen)
        assert state.target in (former.good, former.trial, state.trial, former.former, None)
        assert (state.trial is None) == (state.phase is Phase.IDLE)
        if former.phase is Phase.PREPARING and state.phase is Phase.APPLYING:
            assert seen.prepared == _wanted(state)
    if state.good is None:
        return
    for _ in range(8):
        late = Seen(NOW, elapsed=10 * APPLY_SECONDS, offered=last, prepared=_wanted(state))
        state = advance(state, late)
    assert state.phase is Phase.IDLE
    assert state.good is not None
    assert state.target == state.good
    assert state.good.digest not in state.bad or last is None or state.good == last


def _wanted(state: State) -> str:
    return "" if state.trial is None else state.trial.digest


def test_the_first_deployment_is_applied_at_once_and_gives_way() -> None:
    """There is nothing to go back to, and nothing to wait for."""
    first = advance(State(), Seen(NOW, offered=A, refusal="one bad module"))
    assert (first.phase, first.target) == (Phase.APPLYING, A)
    assert advance(first, Seen(NOW, offered=A, trouble="crashed", elapsed=9e9)).target == A
    assert advance(first, Seen(NOW, offered=B)).target == B
    assert committed(A).good == A


def test_a_trial_that_holds_is_committed() -> None:
    """Prepared, applied, tried for its time, and then good."""
    trial = advance(applying(), Seen(NOW, offered=B, settled=True))
    assert (trial.phase, trial.target) == (Phase.TRIAL, B)
    assert advance(trial, Seen(NOW, settled=True, trial_seconds=30, elapsed=29)) == trial
    done = advance(trial, Seen(NOW, settled=True, trial_seconds=30, elapsed=30))
    assert (done.phase, done.good, done.former) == (Phase.IDLE, B, A)
    assert [entry.outcome for entry in done.history] == [Outcome.COMMITTED, Outcome.COMMITTED]


def test_what_has_failed_is_not_begun_again_until_a_person_says_so() -> None:
    """The reason is kept by digest; another deployment is free to be tried."""
    back = advance(applying(), Seen(NOW, offered=B, trouble="sensor: crashed"))
    assert (back.target, back.bad) == (A, {"b": "sensor: crashed"})
    assert back.history[-1].outcome is Outcome.ROLLED_BACK
    assert advance(back, Seen(NOW, offered=B)) == back
    assert advance(back, Seen(NOW, offered=C)).trial == C
    again = advance(back, Seen(NOW, offered=B, request=Request("7", "retry")))
    assert advance(again, Seen(NOW, offered=B)).trial == B


def test_what_cannot_be_fetched_gives_way_and_is_not_blamed() -> None:
    """Nothing has been touched yet."""
    preparing = advance(committed(A), Seen(NOW, offered=B))
    assert (preparing.phase, preparing.target) == (Phase.PREPARING, A)
    assert advance(preparing, Seen(NOW, offered=B, elapsed=9e9)) == preparing
    assert advance(preparing, Seen(NOW, offered=C)).trial == C
    withdrawn = advance(preparing, Seen(NOW, offered=A))
    assert (withdrawn.phase, withdrawn.bad) == (Phase.IDLE, {})


def test_a_person_goes_back_to_the_former_deployment() -> None:
    """What is on offer is then bad by their word; the same request is answered once."""
    trial = advance(applying(), Seen(NOW, settled=True))
    done = advance(trial, Seen(NOW, settled=True, elapsed=1))
    asked = Seen(NOW, offered=B, request=Request("9", "rollback"))
    back = advance(done, asked)
    assert (back.trial, back.bad) == (A, {"b": "rolled back by a person"})
    assert advance(back, asked) == back


def test_a_trial_that_never_settles_ends_in_time() -> None:
    """Neither ready nor in trouble is trouble too."""
    back = advance(applying(), Seen(NOW, elapsed=APPLY_SECONDS))
    assert (back.target, back.bad) == (A, {"b": "not ready within 900 s"})


def test_a_state_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    """With manifest, history and reasons; the file is private."""
    store = TransactionStore(tmp_path, get_logger("agent"))
    state = advance(applying(), Seen(NOW, offered=B, trouble="crashed"))
    for one in (State(), applying(), state):
        store.save(one)
        assert store.load() == one
    assert (tmp_path / "transaction.json").stat().st_mode & 0o777 == 0o600


def test_a_broken_state_is_set_aside(tmp_path: Path) -> None:
    """The deployment on offer is the first one again; the file is kept for people."""
    (tmp_path / "transaction.json").write_text('{"phase": "odd"}')
    assert TransactionStore(tmp_path, get_logger("agent")).load() == State()
    assert (tmp_path / "transaction.json.broken").is_file()
