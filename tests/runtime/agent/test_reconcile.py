"""What the agent decides to do, as a table and as properties."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.agent.deployment import spec_digest
from skerry.agent.memory import after_failure, after_success, delay_after, forgive
from skerry.agent.model import (
    Actual,
    Deployment,
    Memory,
    RestartPolicy,
    RuntimeStatus,
    Status,
    Wanted,
)
from skerry.agent.reconcile import MAX_RESTARTS, Outlook, in_order, reconcile
from skerry.agent.steps import Create, Remove, Start, Step, Stop

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SENSOR = Wanted("sensor", "image:1")


def deployment(*modules: Wanted) -> Deployment:
    """Return a deployment of some modules."""
    return Deployment({module.name: module for module in modules})


def running(module: Wanted) -> Actual:
    """Return a module as it runs for an hour."""
    return Actual(
        module.name, module.image, RuntimeStatus.RUNNING, started=NOW - timedelta(hours=1)
    )


def ended(module: Wanted, code: int = 1, seconds_ago: float = 60) -> Actual:
    """Return a module that ended."""
    status = RuntimeStatus.FAILED if code else RuntimeStatus.STOPPED
    return Actual(
        module.name,
        module.image,
        status,
        exit_code=code,
        started=NOW - timedelta(hours=1),
        exited=NOW - timedelta(seconds=seconds_ago),
    )


def steps(
    wanted: Deployment, *actual: Actual, memory: Mapping[str, Memory] | None = None
) -> tuple[Step, ...]:
    """Return the next steps."""
    return reconcile(wanted, {a.name: a for a in actual}, memory or {}, NOW).steps


@pytest.mark.parametrize(
    ("wanted", "actual", "memory", "expected"),
    [
        pytest.param(SENSOR, None, None, (Create(SENSOR),), id="missing is created"),
        pytest.param(SENSOR, running(SENSOR), None, (), id="running is left alone"),
        pytest.param(
            SENSOR, replace(running(SENSOR), image="image:0"), None, (Create(SENSOR),),
            id="another image is replaced",
        ),
        pytest.param(
            SENSOR, running(SENSOR), Memory(spec="of other options"), (Create(SENSOR),),
            id="other options are replaced",
        ),
        pytest.param(
            SENSOR, replace(running(SENSOR), status=RuntimeStatus.DEAD), None, (Create(SENSOR),),
            id="dead is replaced",
        ),
        pytest.param(
            SENSOR, Actual("sensor", "image:1", RuntimeStatus.STOPPED), None,
            (Start("sensor", again=False),), id="created and never started is started",
        ),
        pytest.param(
            replace(SENSOR, status=Status.STOPPED), running(SENSOR), None, (Stop("sensor"),),
            id="running is stopped where wanted stopped",
        ),
        pytest.param(
            replace(SENSOR, status=Status.STOPPED), ended(SENSOR), None, (),
            id="ended is left where wanted stopped",
        ),
        pytest.param(
            SENSOR, ended(SENSOR, 0), None, (Start("sensor", again=True),),
            id="always restarts a clean end",
        ),
        pytest.param(
            replace(SENSOR, restart_policy=RestartPolicy.ON_FAILURE), ended(SENSOR, 0), None, (),
            id="on-failure leaves a clean end",
        ),
        pytest.param(
            replace(SENSOR, restart_policy=RestartPolicy.ON_FAILURE), ended(SENSOR, 3), None,
            (Start("sensor", again=True),), id="on-failure restarts a failure",
        ),
        pytest.param(
            replace(SENSOR, restart_policy=RestartPolicy.NEVER), ended(SENSOR, 3), None, (),
            id="never leaves a failure",
        ),
        pytest.param(SENSOR, ended(SENSOR, 1, 9), None, (), id="not before ten seconds"),
        pytest.param(
            SENSOR, ended(SENSOR, 1, 39), Memory(restarts=2), (), id="not before forty seconds",
        ),
        pytest.param(
            SENSOR, ended(SENSOR, 1, 41), Memory(restarts=2), (Start("sensor", again=True),),
            id="after forty seconds",
        ),
        pytest.param(
            SENSOR, ended(SENSOR, 1, 9999), Memory(restarts=MAX_RESTARTS), (),
            id="not after twenty restarts",
        ),
        pytest.param(
            SENSOR, ended(SENSOR, 1, -9999), None, (), id="a clock set back delays, no more",
        ),
    ],
)  # fmt: skip
def test_next_step_of_one_module(
    wanted: Wanted, actual: Actual | None, memory: Memory | None, expected: tuple[Step, ...]
) -> None:
    """One module, one situation, one decision."""
    found = () if actual is None else (actual,)
    assert expected == steps(
        deployment(wanted), *found, memory={} if memory is None else {"sensor": memory}
    )


def test_what_is_not_wanted_goes_and_the_agent_stays() -> None:
    """Unknown modules are removed; edgeAgent is edged's, and a refused module is not touched."""
    wanted = Deployment({}, refused={"broken": "reason"})
    found = [running(replace(SENSOR, name=name)) for name in ("edgeAgent", "broken", "old")]
    assert steps(wanted, *found) == (Remove("old"),)


def test_backoff_says_when_to_look_again() -> None:
    """The outlook carries the moment of the next restart and reports the module as in back-off."""
    outlook = reconcile(deployment(SENSOR), {"sensor": ended(SENSOR, 1, 4)}, {}, NOW)
    assert outlook.states == {"sensor": RuntimeStatus.BACKOFF}
    assert outlook.due == NOW + timedelta(seconds=6)


def test_failed_creations_wait_longer_each_time_and_start_anew_with_a_new_spec() -> None:
    """10 s, 20 s, … for the same spec; a changed spec is tried at once."""
    step = Create(SENSOR)
    known = after_failure(step, Memory(), NOW)
    assert steps(deployment(SENSOR), memory={"sensor": known}) == ()
    due = reconcile(deployment(SENSOR), {}, {"sensor": known}, NOW).due
    assert due == NOW + timedelta(seconds=10)
    again = after_failure(step, known, NOW)
    due = reconcile(deployment(SENSOR), {}, {"sensor": again}, NOW).due
    assert due == NOW + timedelta(seconds=20)
    changed = replace(SENSOR, env={"A": "b"})
    assert steps(deployment(changed), memory={"sensor": again}) == (Create(changed),)


def test_orders_come_one_after_another() -> None:
    """The second order waits for the first to have been acted on, not for it to be healthy."""
    first = replace(SENSOR, name="first", startup_order=1)
    second = replace(SENSOR, name="second", startup_order=2)
    assert steps(deployment(second, first)) == (Create(first),)
    assert steps(deployment(second, first), running(first)) == (Create(second),)
    assert steps(deployment(second, first), ended(first, 1, 2)) == (Create(second),)


def test_dependents_wait_until_their_dependency_runs() -> None:
    """A dependency that is down holds its dependents up, and nobody else."""
    base = replace(SENSOR, name="base")
    user = replace(SENSOR, name="user", depends_on=("base",))
    other = replace(SENSOR, name="other", startup_order=base.startup_order)
    assert steps(deployment(user, base)) == (Create(base),)
    assert steps(deployment(user, base, other), ended(base, 1, 2)) == (Create(other),)
    assert steps(deployment(user, base), running(base)) == (Create(user),)
    assert steps(deployment(user, base), ended(base, 1, 2), running(user)) == ()


def test_ten_minutes_of_running_are_forgiven() -> None:
    """The count of restarts is cleared after ten minutes, not before."""
    known = Memory(restarts=5, last_restart=NOW)
    young = replace(running(SENSOR), started=NOW - timedelta(minutes=9))
    assert forgive(young, known, NOW) == known
    assert forgive(running(SENSOR), known, NOW) == Memory()
    assert forgive(ended(SENSOR), known, NOW) == known


def test_delays_double_up_to_five_minutes() -> None:
    """10 20 40 80 160 300 300 …"""
    assert [delay_after(n).total_seconds() for n in range(7)] == [10, 20, 40, 80, 160, 300, 300]
    assert delay_after(10_000) == timedelta(seconds=300)


@dataclass
class World:
    """An engine without faults: what steps make of the modules."""

    modules: dict[str, Actual] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)

    def take(self, step: Step) -> None:
        """Do one step."""
        name = step.module.name if isinstance(step, Create) else step.name
        self.touched.append(name)
        match step:
            case Remove():
                del self.modules[name]
            case Create(module):
                runs = module.status is Status.RUNNING
                status = RuntimeStatus.RUNNING if runs else RuntimeStatus.STOPPED
                self.modules[name] = Actual(name, module.image, status, started=NOW)
                self.started.append(name)
            case Start():
                self.modules[name] = replace(self.modules[name], status=RuntimeStatus.RUNNING)
                self.started.append(name)
            case Stop():
                self.modules[name] = replace(self.modules[name], status=RuntimeStatus.STOPPED)
        self.memory[name] = after_success(step, self.memory.get(name, Memory()), NOW)


NAMES = ["a", "b", "c", "d"]
ENGINE_STATES = [
    RuntimeStatus.RUNNING,
    RuntimeStatus.STOPPED,
    RuntimeStatus.FAILED,
    RuntimeStatus.DEAD,
]


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    """Draw modules that depend only on those before them."""
    modules: list[Wanted] = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        others = [module.name for module in modules if module.status is Status.RUNNING]
        modules.append(
            Wanted(
                name,
                draw(st.sampled_from(["image:1", "image:2"])),
                status=draw(st.sampled_from(Status)),
                startup_order=draw(st.integers(0, 3)),
                depends_on=tuple(draw(st.sets(st.sampled_from(others)))) if others else (),
            )
        )
    return deployment(*modules)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw what may be there already."""
    world = World()
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        status = draw(st.sampled_from(ENGINE_STATES))
        image = draw(st.sampled_from(["image:1", "image:2"]))
        over = status in (RuntimeStatus.STOPPED, RuntimeStatus.FAILED)
        world.modules[name] = Actual(
            name,
            image,
            status,
            exit_code=1 if over else None,
            started=NOW - timedelta(hours=2),
            exited=NOW - timedelta(hours=1) if over else None,
        )
    return world


def settle(wanted: Deployment, world: World) -> Outlook:
    """Take steps until there are none."""
    for _ in range(50):
        outlook = reconcile(wanted, world.modules, world.memory, NOW)
        if not outlook.steps:
            return outlook
        for step in outlook.steps:
            world.take(step)
    raise AssertionError("fifty rounds were not enough")


@given(deployments(), worlds())
def test_steps_converge_on_what_is_wanted(wanted: Deployment, world: World) -> None:
    """Taking the steps leads to exactly the wanted modules, and then to no step."""
    settle(wanted, world)
    assert set(world.modules) == set(wanted.modules)
    for name, module in wanted.modules.items():
        assert world.modules[name].image == module.image
        is_running = world.modules[name].status is RuntimeStatus.RUNNING
        assert is_running == (module.status is Status.RUNNING)


@given(deployments(), worlds())
def test_healthy_unchanged_modules_are_never_touched(wanted: Deployment, world: World) -> None:
    """A module that runs from the wanted image with the wanted status sees no step."""
    healthy = {
        name
        for name, found in world.modules.items()
        if found.status is RuntimeStatus.RUNNING
        and name in wanted.modules
        and wanted.modules[name].image == found.image
        and wanted.modules[name].status is Status.RUNNING
    }
    settle(wanted, world)
    assert not healthy & set(world.touched)


@given(deployments())
def test_starts_follow_order_and_dependencies(wanted: Deployment) -> None:
    """From nothing, modules are created after their dependencies and in startup order."""
    world = World()
    settle(wanted, world)
    assert sorted(world.started) == sorted(wanted.modules)
    if not any(module.depends_on for module in wanted.modules.values()):
        assert world.started == [module.name for module in in_order(wanted)]
    for position, name in enumerate(world.started):
        if wanted.modules[name].status is Status.RUNNING:
            needed = set(wanted.modules[name].depends_on)
            assert needed <= set(world.started[:position])


@given(deployments())
def test_digests_tell_specs_apart(wanted: Deployment) -> None:
    """Status and order are not part of the digest; the image is."""
    for module in wanted.modules.values():
        assert spec_digest(replace(module, startup_order=9)) == spec_digest(module)
        assert spec_digest(replace(module, image="other")) != spec_digest(module)
