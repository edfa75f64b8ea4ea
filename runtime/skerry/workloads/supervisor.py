"""The life of edged beside its sockets: the bootstrap, then the agent, for ever.

Nothing here ends edged but what must: a request to be provisioned again (exit 154), an agent that
failed more often than the settings allow, or a defect. Everything else is said once, and tried
again. Containers run on whatever happens to edged.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.log import Logger, step
from skerry.base.service import EXIT_FAILED, EXIT_REPROVISIONED
from skerry.engine.model import Container, Engine
from skerry.workloads.agent import (
    FIRST_SECONDS,
    Action,
    AgentPlan,
    Attempts,
    has_recovered,
    next_action,
)
from skerry.workloads.bootstrap import Bootstrap
from skerry.workloads.modules import Modules
from skerry.workloads.settings import Settings


@dataclass(frozen=True)
class Pace:
    """How long edged waits: before it tries again, for a change of the agent, after a change."""

    retry_seconds: float = 5.0
    watch_seconds: float = 30.0
    settle_seconds: float = 1.0
    first_attempt_seconds: float = FIRST_SECONDS
    after_reply_seconds: float = 1.0


class _StoppingError(Exception):
    """Ends the supervisor's thread between two steps."""


class Complaints:
    """Says each trouble once, and once that it is over."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._last: dict[str, str] = {}

    def about(self, what: str, reason: Exception) -> None:
        if self._last.get(what) != str(reason):
            self._last[what] = str(reason)
            self._log.error("waiting", step=what, reason=reason)

    def over(self, what: str) -> None:
        if self._last.pop(what, None) is not None:
            self._log.info("no longer waiting", step=what)


class Supervisor:
    """Runs in a thread of its own; `end(status)` ends the process with that status."""

    def __init__(
        self,
        settings: Settings,
        plan: AgentPlan,
        bootstrap: Bootstrap,
        modules: Modules,
        engine: Engine,
        clock: Clock,
        log: Logger,
        end: Callable[[int], None],
        pace: Pace,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._bootstrap = bootstrap
        self._modules = modules
        self._engine = engine
        self._clock = clock
        self._log = log
        self._end = end
        self._pace = pace
        self._attempts = Attempts()
        self._complaints = Complaints(log)
        self._container: Container | None = None
        self._action = Action.CREATE
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin, in the background."""
        self._thread.start()

    def stop(self, wait_seconds: float = 0) -> None:
        """Begin no further step; `wait_seconds` is how long to wait for the present one to end."""
        self._stopping.set()
        self._thread.join(wait_seconds)

    def reprovision(self) -> None:
        """Have the device provisioned again, after the caller has its answer."""
        threading.Timer(self._pace.after_reply_seconds, self._reprovision).start()

    def _reprovision(self) -> None:
        try:
            self._bootstrap.reprovision()
        except SkerryError as error:
            self._log.error("not provisioned again", reason=error)
            return
        self._end(EXIT_REPROVISIONED)

    def _run(self) -> None:
        try:
            for name, action in self._bootstrap.steps():
                with step(self._log, self._clock, "edged", name):
                    while not self._attempted(name, action):
                        self._pause(self._pace.retry_seconds)
            while True:
                self._pause(self._watch())
        except _StoppingError:
            return
        except Exception:  # the edge of this thread: without it edged would look alive
            self._log.exception("supervisor failed")
            self._end(EXIT_FAILED)

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise _StoppingError

    def _attempted(self, name: str, action: Callable[[], object]) -> bool:
        try:
            action()
        except (SkerryError, OSError) as error:
            if self._stopping.is_set():
                raise _StoppingError from error
            self._complaints.about(name, error)
            return False
        self._complaints.over(name)
        return True

    def _watch(self) -> float:
        """Look after the agent once, wait while it runs; returns the pause before the next time."""
        if not self._attempted("container engine", self._look):
            return self._pace.retry_seconds
        if self._bootstrap.edge_ca_is_due():
            self._attempted("edge CA renewal", self._bootstrap.ensure_edge_ca)
        if self._action is Action.NONE:
            self._complaints.over("edge agent")
            self._attempted("container engine", self._wait_for_change)
            return self._pace.settle_seconds
        pause = self._attempts.not_before - self._clock.monotonic()
        if pause > 0:
            return min(pause, self._pace.retry_seconds)
        self._attempted("edge agent", self._attempt)
        return self._pace.settle_seconds

    def _look(self) -> None:
        self._container = self._modules.find(self._settings.agent.name)
        self._action = next_action(self._container, self._plan.digest)
        if self._action is Action.NONE and self._container is not None:
            self._note_health(self._container)

    def _wait_for_change(self) -> None:
        self._engine.wait(self._settings.agent.name, self._pace.watch_seconds)

    def _note_health(self, container: Container) -> None:
        started = container.state.started_at
        if started is not None and self._attempts.count:
            running_seconds = (self._clock.now() - started).total_seconds()
            if has_recovered(running_seconds):
                self._attempts = Attempts()

    def _attempt(self) -> None:
        # the agent may be putting another one in its place: what was seen before is not believed
        with self._modules.alone(self._settings.agent.name):
            self._look()
            if self._action is not Action.NONE:
                self._change()

    def _change(self) -> None:
        container, limit = self._container, self._settings.max_retries
        if self._attempts.exhausted(limit):
            self._log.error("the edge agent failed too often", limit=limit)
            self._end(EXIT_FAILED)
            raise _StoppingError
        self._attempts = self._attempts.another(
            self._clock.monotonic(), self._pace.first_attempt_seconds
        )
        if container is not None:
            self._log.warning(
                "the edge agent does not run as it should",
                status=container.state.status,
                exit_code=container.state.exit_code,
                attempt=self._attempts.count,
            )
        with step(self._log, self._clock, "edged", f"{self._action.value} edge agent"):
            if self._action is not Action.START:
                self._modules.replace(self._plan.spec(), start=False)
            self._modules.start(self._settings.agent.name)
