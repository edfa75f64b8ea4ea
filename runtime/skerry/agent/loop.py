"""One round of the agent after another: look, think, act, report.

A step that fails is remembered and does not stop the others. While edged cannot be reached nothing
is done and nothing is forgotten; that is said once. Which deployment is in force the rollout says.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from skerry.agent.cloud import Cloud
from skerry.agent.figures import Figures
from skerry.agent.memory import after_absence, after_failure, after_success, before, forgive
from skerry.agent.model import Actual, Deployment, Memory, RuntimeStatus, identity_of
from skerry.agent.reconcile import Outlook, reconcile
from skerry.agent.report import (
    FAILED,
    NO_DEPLOYMENT,
    OK,
    Round,
    reported,
)
from skerry.agent.rollout import Rollout
from skerry.agent.spec import Surroundings, module_spec
from skerry.agent.steps import Create, Remove, Start, Step, Stop
from skerry.agent.store import MemoryStore, Remembered
from skerry.agent.transaction import Request
from skerry.agent.transaction_store import summary
from skerry.base.client import ApiError, UnreachableError
from skerry.base.clock import Clock
from skerry.base.log import Logger

LOOK_SECONDS = 5.0
AT_ONCE_SECONDS = 0.05
_NOT_FOUND = 404
_AWAY = 503


class Edged(Protocol):
    """What the agent asks of edged; skerry.agent.client is the real one."""

    def deployment(self) -> object | None: ...
    def modules(self) -> dict[str, Actual]: ...
    def create_identity(self, identity: str) -> str: ...
    def delete_identity(self, identity: str) -> None: ...
    def create(self, spec: Mapping[str, object], *, exists: bool, start: bool) -> None: ...
    def act(self, name: str, action: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def request(self) -> Request | None: ...
    def tell(self, transaction: Mapping[str, object]) -> None: ...
    def report(self, properties: Mapping[str, object]) -> None: ...


@dataclass
class Agent:
    """The state of a running agent; `round` does one round and says when the next is due."""

    edged: Edged
    surroundings: Surroundings
    store: MemoryStore
    rollout: Rollout
    clock: Clock
    log: Logger
    version: str
    boot: str
    pool: Executor
    cloud: Cloud | None = None
    figures: Figures | None = None
    _remembered_boot: str = ""
    _is_at_work: bool = False
    _memory: dict[str, Memory] = field(default_factory=dict)
    _said: dict[str, str] = field(default_factory=dict)
    _reported: Mapping[str, object] | None = None
    _told: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        remembered = self.store.load()
        self._remembered_boot = remembered.boot
        self._memory = dict(remembered.modules)

    def round(self) -> float:
        """Do one round; returns the seconds until the next one."""
        try:
            seconds = self._round()
        except UnreachableError as error:
            self._say("edged", "edged cannot be reached; trying again", reason=str(error))
            return LOOK_SECONDS
        except ApiError as error:
            self._say("edged", "edged refused; trying again", reason=str(error))
            return LOOK_SECONDS
        if self._said.pop("edged", None) is not None:
            self.log.info("edged answers again")
        return seconds

    def _round(self) -> float:
        document = self.edged.deployment()
        if self.cloud is not None:
            document = self.cloud.choose(document)
        if document is None:
            self._say("deployment", "there is no deployment; modules are left as they are")
            self._tell(Round(NO_DEPLOYMENT, "there is no deployment"))
            return LOOK_SECONDS
        self._said.pop("deployment", None)
        self.rollout.offer(document)
        actual = self.edged.modules()
        self.rollout.decide(self.edged.request(), actual)
        deployment = self.rollout.target()
        code, description = self.rollout.verdict()
        if deployment is None:
            self._tell(Round(code, description))
            return LOOK_SECONDS
        for name, reason in deployment.refused.items():
            self._say(f"refused {name}", "module refused", module=name, reason=reason)
        now = self.clock.now()
        self._look_back(deployment, actual, now)
        readiness = self.rollout.readiness
        readiness.look(deployment.modules, actual)
        outlook = reconcile(deployment, actual, self._memory, now, readiness.waiting)
        failed = self._act(outlook, actual)
        has_advanced = self.rollout.judge(outlook, actual, self._memory)
        if self.figures is not None:
            self.figures.look(deployment, outlook.states, self.rollout.state.history)
        problems = self._problems(deployment, outlook)
        if code == OK and problems:
            code, description = FAILED, "; ".join(problems)
        self._tell(
            Round(
                code, description, deployment, actual, outlook.states, outlook.notes, self._memory
            )
        )
        if has_advanced:
            return AT_ONCE_SECONDS
        return min(self._pause(outlook, failed, now), self.rollout.due())

    def _look_back(
        self, deployment: Deployment, actual: Mapping[str, Actual], now: datetime
    ) -> None:
        if not self._is_at_work:
            booted = self._remembered_boot != self.boot
            self._memory = after_absence(self._memory, actual, deployment, booted=booted)
            self._remembered_boot = self.boot
            self._is_at_work = True
        kept = {
            name: known
            for name, known in self._memory.items()
            if name in actual or name in deployment.modules
        }
        self._memory = {
            name: forgive(actual[name], known, now) if name in actual else known
            for name, known in kept.items()
        }
        self._save()

    def _act(self, outlook: Outlook, actual: Mapping[str, Actual]) -> int:
        """Take the steps, removals before all others; returns how many failed."""
        removals = [step for step in outlook.steps if isinstance(step, Remove)]
        others = [step for step in outlook.steps if not isinstance(step, Remove)]
        return self._act_at_once(removals, actual) + self._act_at_once(others, actual)

    def _act_at_once(self, steps: Sequence[Step], actual: Mapping[str, Actual]) -> int:
        """Take steps that do not depend on each other; none waits for another's end."""
        for step in steps:
            name = _name(step)
            self._memory[name] = before(step, self._memory.get(name, Memory()))
        self._save()
        taken = [
            (step, self.pool.submit(self._take, step, actual.get(_name(step)))) for step in steps
        ]
        failed, away = 0, None
        for step, future in taken:
            name = _name(step)
            try:
                future.result()
            except (ApiError, UnreachableError) as error:
                if isinstance(error, UnreachableError) or error.status == _AWAY:
                    away = error
                    continue
                failed += 1
                self._memory[name] = after_failure(
                    step, self._memory[name], self.clock.now(), str(error)
                )
                self.log.warning("step failed", step=_verb(step), module=name, reason=error)
            else:
                self._done(step, actual.get(name))
            # a crash after this point must not make the agent do or count the step again
            self._save()
        if away is not None:
            raise away
        return failed

    def _done(self, step: Step, found: Actual | None) -> None:
        name = _name(step)
        known = after_success(step, self._memory[name], self.clock.now())
        self._memory[name] = known
        if isinstance(step, Remove):
            del self._memory[name]
        if isinstance(step, Start) and step.again and found is not None:
            self.log.info(
                "module restarted", module=name, exit_code=found.exit_code, restarts=known.restarts
            )
        else:
            self.log.info(_DONE[type(step)], module=name)

    def _take(self, step: Step, found: Actual | None) -> None:
        match step:
            case Remove(name):
                self._stop_and_remove(name, found)
            case Create(module):
                generation_id = self.edged.create_identity(module.identity)
                spec = module_spec(module, generation_id, self.surroundings)
                start = module.status.value == RuntimeStatus.RUNNING.value
                self.edged.create(spec, exists=found is not None, start=start)
            case Start(name):
                self.edged.act(name, "start")
            case Stop(name):
                self.edged.act(name, "stop")

    def _stop_and_remove(self, name: str, found: Actual | None) -> None:
        """Give a module the time to end by itself; what somebody else has removed is gone too."""
        running = found is not None and found.status is RuntimeStatus.RUNNING
        identity = identity_of(name)
        for call in (
            (lambda: self.edged.act(name, "stop")) if running else None,
            lambda: self.edged.remove(name),
            lambda: self.edged.delete_identity(identity),
        ):
            try:
                if call is not None:
                    call()
            except ApiError as error:
                if error.status != _NOT_FOUND:
                    raise

    def _problems(self, deployment: Deployment, outlook: Outlook) -> list[str]:
        found = dict(deployment.refused)
        for name in deployment.modules:
            known = self._memory.get(name, Memory())
            if known.failures:
                found[name] = known.reason
            elif outlook.states.get(name) is RuntimeStatus.FAILED:
                found[name] = outlook.notes.get(name, "failed")
        return [f"{name}: {found[name]}" for name in sorted(found)]

    def _tell(self, seen: Round) -> None:
        for name, note in seen.notes.items():
            if seen.states.get(name) not in (RuntimeStatus.RUNNING, RuntimeStatus.STOPPED):
                self._say(f"note {name}", "module not running", module=name, reason=note)
        properties = reported(seen, self.version)
        if properties != self._reported:
            self.edged.report(properties)
            if self.cloud is not None:
                self.cloud.report(properties)
            self._reported = properties
        transaction = summary(self.rollout.state, self.rollout.problem)
        if transaction != self._told:
            self.edged.tell(transaction)
            self._told = transaction

    def _pause(self, outlook: Outlook, failed: int, now: datetime) -> float:
        if len(outlook.steps) > failed:
            return AT_ONCE_SECONDS
        if outlook.due is None:
            return LOOK_SECONDS
        return min(max((outlook.due - now).total_seconds(), AT_ONCE_SECONDS), LOOK_SECONDS)

    def _save(self) -> None:
        self.store.save(Remembered(self._remembered_boot, self._memory))

    def _say(self, topic: str, text: str, **fields: str) -> None:
        """Say something once, until it changes."""
        said = repr((text, fields))
        if self._said.get(topic) != said:
            self._said[topic] = said
            self.log.warning(text, **fields)


_DONE: Mapping[type[Step], str] = {
    Create: "module created",
    Remove: "module removed",
    Start: "module started",
    Stop: "module stopped",
}


def _name(step: Step) -> str:
    return step.module.name if isinstance(step, Create) else step.name


def _verb(step: Step) -> str:
    return type(step).__name__.lower()
