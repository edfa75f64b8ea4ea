"""The transaction at work: fetches in the background, judges what runs, keeps the state on disk.

Every change of the state is on disk before anything is done because of it. Only modules that a
trial makes anew decide on it: one that was failing before must not keep a repair from the device.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace

from skerry.agent.deployment import (
    deployment_digest,
    parse_deployment,
    port_conflicts,
    spec_digest,
)
from skerry.agent.errors import DeploymentError, SchemaVersionError
from skerry.agent.memory import delay_after
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
from skerry.agent.readiness import ReadinessWatch
from skerry.agent.reconcile import Outlook
from skerry.agent.report import BAD_FORMAT, BAD_SCHEMA_VERSION, FAILED, OK
from skerry.agent.transaction import Candidate, Phase, Request, Seen, State, advance
from skerry.agent.transaction_store import TransactionStore
from skerry.base.client import ApiError
from skerry.base.clock import Clock
from skerry.base.log import Logger

_NEVER_USABLE = 422
"""What edged says of an image for another machine, or of options that are not a container's."""
_FAILURES_IN_TRIAL = 2
"""How often a step may fail before the trial has: once may be chance, as a port just given up."""


@dataclass
class _Offer:
    candidate: Candidate
    deployment: Deployment | None
    code: int = OK
    refusal: str = ""


@dataclass
class Rollout:
    """Decides which deployment the modules are made from."""

    store: TransactionStore
    prepare: Callable[[Wanted], None]
    readiness: ReadinessWatch
    pool: Executor
    clock: Clock
    log: Logger
    context: str
    state: State = field(init=False)
    problem: str = ""
    """Why the deployment that is being prepared cannot be applied yet."""
    _since: float = field(init=False)
    _offer: _Offer | None = None
    _fetched_for: str = ""
    _pulls: dict[str, Future[None]] = field(default_factory=dict)
    _pulled: str = ""
    _tries: int = 0
    _again_at: float = 0.0

    def __post_init__(self) -> None:
        self.state = self.store.load()
        self._since = self.clock.monotonic()

    def offer(self, document: object) -> None:
        """Take the manifest that shall be in force."""
        digest = deployment_digest(document)
        if self._offer is not None and self._offer.candidate.document == document:
            return
        manifest = document if isinstance(document, dict) else {}
        candidate = Candidate(digest, 0, manifest)
        try:
            deployment = parse_deployment(document, self.context)
        except DeploymentError as error:
            is_version = isinstance(error, SchemaVersionError)
            code = BAD_SCHEMA_VERSION if is_version else BAD_FORMAT
            self._offer = _Offer(candidate, None, code, str(error))
            self.log.warning("the deployment cannot be used", reason=error)
            return
        faults = [f"{name}: {why}" for name, why in sorted(deployment.refused.items())]
        refusal = "; ".join([*faults, *port_conflicts(deployment)])
        candidate = replace(candidate, version=deployment.version)
        self._offer = _Offer(candidate, deployment, refusal=refusal)

    def target(self) -> Deployment | None:
        """Return what the modules shall be, None before the first usable deployment."""
        target, offer = self.state.target, self._offer
        if target is None:
            return None
        if offer is None or offer.deployment is None:
            return parse_deployment(target.document, self.context)
        if offer.candidate.digest == target.digest:
            return offer.deployment
        deployment = parse_deployment(target.document, self.context)
        return replace(deployment, version=offer.candidate.version)

    def verdict(self) -> tuple[int, str]:
        """Return code and description of what is reported about the deployment on offer."""
        offer = self._offer
        if offer is None:
            return OK, ""
        if offer.code != OK:
            return offer.code, offer.refusal
        reason = self.state.bad.get(offer.candidate.digest)
        if reason is not None:
            return FAILED, f"not in force: {reason}"
        return (FAILED, self.problem) if self.problem else (OK, "")

    def decide(self, request: Request | None, actual: Mapping[str, Actual]) -> None:
        """Begin, apply or give up as far as no module has to be looked at for that."""
        self._advance(Seen(self.clock.now(), request=request))
        candidate = self._next()
        if (candidate.digest if candidate else "") != self._fetched_for:
            self._fetched_for = candidate.digest if candidate else ""
            self._pulls, self._pulled, self._tries, self.problem = {}, "", 0, ""
            self._again_at = 0.0
        if candidate is None:
            return
        self._fetch(candidate, actual)
        unusable = self._look_at_pulls(candidate)
        if unusable and self.state.phase is Phase.PREPARING:
            self._advance(Seen(self.clock.now(), unusable=unusable))
        elif self._pulled == candidate.digest:
            self._advance(Seen(self.clock.now(), prepared=candidate.digest))

    def judge(
        self, outlook: Outlook, actual: Mapping[str, Actual], memory: Mapping[str, Memory]
    ) -> bool:
        """Go on with a trial by what its modules do; tells whether something changed."""
        trial = self.target()
        if trial is None or self.state.phase not in (Phase.APPLYING, Phase.TRIAL):
            return False
        judged = self._judged(trial)
        troubles = [
            f"{module.name}: {why}"
            for module in judged
            if (why := self._trouble(module, outlook, actual, memory))
        ]
        left = set(actual) - set(trial.modules) - set(trial.refused) - {AGENT_MODULE}
        settled = not outlook.steps and not left and not trial.refused
        settled = settled and all(self._is_ready(module, actual) for module in judged)
        before = self.state
        self._advance(
            Seen(
                self.clock.now(),
                trouble="; ".join(troubles),
                settled=settled,
                # A deployment that only takes modules away starts nothing that could still fail.
                trial_seconds=trial.trial_seconds if judged else 0.0,
            )
        )
        return self.state is not before

    def due(self) -> float:
        """Return in how many seconds the transaction wants to be looked at."""
        return 1.0 if self.state.phase is not Phase.IDLE or self.readiness.waiting else 3600.0

    def _advance(self, seen: Seen) -> None:
        offer = self._offer
        if offer is not None and (offer.deployment is not None or self.state.good is not None):
            seen = replace(seen, offered=offer.candidate, refusal=offer.refusal)
        former = self.state
        elapsed = self.clock.monotonic() - self._since
        self.state = advance(former, replace(seen, elapsed=elapsed))
        if self.state is former or self.state == former:
            self.state = former
            return
        self.store.save(self.state)
        if self.state.phase is not former.phase or self.state.trial != former.trial:
            self._since = self.clock.monotonic()
        self._tell(former)

    def _tell(self, former: State) -> None:
        if self.state.history[-1:] != former.history[-1:]:
            entry = self.state.history[-1]
            self.log.info(
                "deployment ended",
                outcome=entry.outcome.value,
                digest=entry.digest[:12],
                reason=entry.reason,
            )
        elif self.state.trial is not None:
            phase = self.state.phase.value
            self.log.info("deployment goes on", phase=phase, digest=self.state.trial.digest[:12])

    def _fetch(self, trial: Candidate, actual: Mapping[str, Actual]) -> None:
        if self._pulls or self._pulled or self.clock.monotonic() < self._again_at:
            return
        wanted = parse_deployment(trial.document, self.context).modules
        for name, module in wanted.items():
            found = actual.get(name)
            if found is None or found.digest != spec_digest(module):
                self._pulls[name] = self.pool.submit(self.prepare, module)
        self._pulled = "" if self._pulls else trial.digest

    def _next(self) -> Candidate | None:
        """Return what is to be fetched: what is prepared, or what came during a trial."""
        state, offer = self.state, self._offer
        if state.phase is Phase.PREPARING:
            return state.trial
        if state.phase is Phase.IDLE or state.good is None or state.trial is None:
            return None
        if offer is None or offer.deployment is None or offer.refusal:
            return None
        digest = offer.candidate.digest
        known = digest in (state.trial.digest, state.good.digest) or digest in state.bad
        return None if known else offer.candidate

    def _look_at_pulls(self, candidate: Candidate) -> str:
        """Take what has been fetched; returns why it can never be used, empty if it can."""
        if not self._pulls or not all(pull.done() for pull in self._pulls.values()):
            return ""
        failed = {name: pull.exception() for name, pull in sorted(self._pulls.items())}
        self._pulls = {}
        faults = [f"{name}: {error}" for name, error in failed.items() if error is not None]
        if not faults:
            self._pulled, self.problem = candidate.digest, ""
            return ""
        pause = delay_after(self._tries).total_seconds()
        self._again_at = self.clock.monotonic() + pause
        self._tries += 1
        reason = "; ".join(faults)
        if reason not in self.problem:
            self.problem = f"cannot be prepared; {reason}"
            self.log.warning("the deployment cannot be prepared", reason=reason)
        final = [error for error in failed.values() if isinstance(error, ApiError)]
        return reason if any(error.status == _NEVER_USABLE for error in final) else ""

    def _judged(self, trial: Deployment) -> list[Wanted]:
        """Return the modules that are another than in the good deployment."""
        good = self.state.good
        if good is None:
            return list(trial.modules.values())
        old = parse_deployment(good.document, self.context).modules
        return [module for name, module in trial.modules.items() if old.get(name) != module]

    def _trouble(
        self,
        module: Wanted,
        outlook: Outlook,
        actual: Mapping[str, Actual],
        memory: Mapping[str, Memory],
    ) -> str:
        known, digest = memory.get(module.name, Memory()), spec_digest(module)
        found = actual.get(module.name)
        if known.failures >= _FAILURES_IN_TRIAL and known.spec_tried == digest:
            return known.reason
        if found is None or found.digest != digest:
            return ""
        if known.failures >= _FAILURES_IN_TRIAL:
            return known.reason
        if module.name in self.readiness.late:
            return self.readiness.late[module.name]
        state = outlook.states.get(module.name, RuntimeStatus.UNKNOWN)
        is_over = state in (RuntimeStatus.FAILED, RuntimeStatus.DEAD) and not known.owed
        crashes_again = state is RuntimeStatus.BACKOFF and known.restarts > 0
        if (is_over or crashes_again) and module.status is Status.RUNNING and not known.failures:
            return outlook.notes.get(module.name) or f"ended with status {found.exit_code}"
        return ""

    def _is_ready(self, module: Wanted, actual: Mapping[str, Actual]) -> bool:
        found = actual.get(module.name)
        if found is None or found.digest != spec_digest(module):
            return False
        if module.status is Status.STOPPED:
            return found.status is not RuntimeStatus.RUNNING
        if found.status is RuntimeStatus.RUNNING:
            return module.name not in self.readiness.waiting | set(self.readiness.late)
        is_done = found.status is RuntimeStatus.STOPPED and found.exit_code == 0
        return is_done and module.restart_policy is not RestartPolicy.ALWAYS
