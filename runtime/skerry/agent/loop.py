"""One round of the agent after another: look, think, act, report.

A step that fails is remembered and does not stop the others. While edged cannot be reached nothing
is done and nothing is forgotten; that is said once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from skerry.agent.deployment import parse_deployment
from skerry.agent.errors import DeploymentError
from skerry.agent.model import Actual, Deployment, Memory, Wanted
from skerry.agent.reconcile import (
    Create,
    Outlook,
    Remove,
    Start,
    Step,
    Stop,
    after_failure,
    after_success,
    forgive,
    reconcile,
)
from skerry.agent.report import BAD_FORMAT, FAILED, NO_DEPLOYMENT, OK, no_deployment, reported
from skerry.agent.spec import Surroundings, module_spec
from skerry.agent.store import MemoryStore
from skerry.base.client import ApiError, UnreachableError
from skerry.base.clock import Clock
from skerry.base.log import Logger

LOOK_SECONDS = 5.0
AT_ONCE_SECONDS = 0.05
_AWAY_STATUS = 503


class Edged(Protocol):
    """What the agent asks of edged; skerry.agent.client is the real one."""

    def deployment(self) -> object | None: ...
    def modules(self) -> dict[str, Actual]: ...
    def create_identity(self, module: Wanted) -> str: ...
    def delete_identity(self, identity: str) -> None: ...
    def create(self, spec: Mapping[str, object], *, exists: bool, start: bool) -> None: ...
    def act(self, name: str, action: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def report(self, properties: Mapping[str, object]) -> None: ...


@dataclass
class Agent:
    """The state of a running agent; `round` does one round and says when the next is due."""

    edged: Edged
    surroundings: Surroundings
    store: MemoryStore
    clock: Clock
    log: Logger
    version: str
    memory: dict[str, Memory] = field(default_factory=dict)
    _said: dict[str, str] = field(default_factory=dict)
    _reported: Mapping[str, object] | None = None

    def round(self) -> float:
        """Do one round; returns the seconds until the next one."""
        try:
            seconds = self._round()
        except UnreachableError as error:
            self._say("edged", f"edged cannot be reached: {error}")
            return LOOK_SECONDS
        except ApiError as error:
            self._say("edged", f"edged refused: {error}")
            return LOOK_SECONDS
        self._said.pop("edged", None)
        return seconds

    def _round(self) -> float:
        document = self.edged.deployment()
        if document is None:
            self._tell(no_deployment(NO_DEPLOYMENT, "the device has no deployment", self.version))
            return LOOK_SECONDS
        try:
            deployment = parse_deployment(document)
        except DeploymentError as error:
            self._say("deployment", f"the deployment cannot be used: {error}")
            self._tell(no_deployment(BAD_FORMAT, str(error), self.version))
            return LOOK_SECONDS
        self._said.pop("deployment", None)
        for name, reason in deployment.refused.items():
            self._say(f"refused {name}", f"module {name} is refused: {reason}")
        actual = self.edged.modules()
        now = self.clock.now()
        for name, found in actual.items():
            if name in self.memory:
                self.memory[name] = forgive(found, self.memory[name], now)
        outlook = reconcile(deployment, actual, self.memory, now)
        problems = self._act(outlook, actual)
        self.store.save(self.memory)
        self._tell(self._properties(deployment, actual, outlook, problems))
        return self._pause(outlook, problems, now)

    def _act(self, outlook: Outlook, actual: Mapping[str, Actual]) -> dict[str, str]:
        problems: dict[str, str] = {}
        for step in outlook.steps:
            name = _name(step)
            known = self.memory.get(name, Memory())
            try:
                self._take(step, exists=name in actual)
            except ApiError as error:
                if error.status == _AWAY_STATUS:
                    raise
                problems[name] = str(error)
                self.memory[name] = after_failure(step, known, self.clock.now())
                self.log.warning("step failed", step=_verb(step), module=name, reason=error)
                continue
            self.log.info("step done", step=_verb(step), module=name)
            if isinstance(step, Remove):
                self.memory.pop(name, None)
            else:
                self.memory[name] = after_success(step, known, self.clock.now())
            # a crash after this point must not make the agent do or count the step again
            self.store.save(self.memory)
        return problems

    def _take(self, step: Step, *, exists: bool) -> None:
        match step:
            case Remove(name):
                self.edged.remove(name)
                self.edged.delete_identity(name if name != "edgeHub" else "$edgeHub")
            case Create(module):
                generation_id = self.edged.create_identity(module)
                spec = module_spec(module, generation_id, self.surroundings)
                self.edged.create(spec, exists=exists, start=module.status == "running")
            case Start(name, again):
                self.edged.act(name, "restart" if again else "start")
            case Stop(name):
                self.edged.act(name, "stop")

    def _properties(
        self,
        deployment: Deployment,
        actual: Mapping[str, Actual],
        outlook: Outlook,
        problems: Mapping[str, str],
    ) -> dict[str, object]:
        trouble = {**deployment.refused, **problems}
        status = (OK, "")
        if trouble:
            status = (FAILED, "; ".join(f"{name}: {trouble[name]}" for name in sorted(trouble)))
        return reported(deployment, actual, outlook.states, self.memory, status, self.version)

    def _tell(self, properties: Mapping[str, object]) -> None:
        if properties != self._reported:
            self.edged.report(properties)
            self._reported = properties

    def _pause(self, outlook: Outlook, problems: Mapping[str, str], now: datetime) -> float:
        if len(outlook.steps) > len(problems):
            return AT_ONCE_SECONDS
        if outlook.due is None:
            return LOOK_SECONDS
        return min(max((outlook.due - now).total_seconds(), AT_ONCE_SECONDS), LOOK_SECONDS)

    def _say(self, topic: str, text: str) -> None:
        if self._said.get(topic) != text:
            self._said[topic] = text
            self.log.warning(text)


def _name(step: Step) -> str:
    return step.module.name if isinstance(step, Create) else step.name


def _verb(step: Step) -> str:
    return type(step).__name__.lower()
