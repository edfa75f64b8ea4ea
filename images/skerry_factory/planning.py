"""Which steps of a build would run and which come from the cache, without running any.

A role is judged only when package and containers are cached: before that their digests are not
known, and the roles that install them run anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from skerry_factory.bootstrap import Bootstrap, plan_bootstrap
from skerry_factory.cache import Cache
from skerry_factory.definition import Definition
from skerry_factory.inputs import StepInputs, reasons, recall
from skerry_factory.parts import UNKNOWN, PlannedParts, plan_parts
from skerry_factory.paths import Checkout
from skerry_factory.pipeline import bootstrap_inputs, kernel_inputs, plan_roles, sealed_sources
from skerry_factory.provision import role_inputs


@dataclass(frozen=True)
class PlannedStep:
    """One step; `why` tells each changed input of a step that would run."""

    name: str
    cached: bool
    why: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        return {"step": self.name, "cached": self.cached, "why": list(self.why)}


def plan_build(
    definition: Definition, cache: Cache, checkout: Checkout, mirror: str | None = None
) -> list[PlannedStep]:
    """Return the steps of a build in their order; the disk itself is always made."""
    plan = plan_bootstrap(definition, checkout, mirror)
    base = bootstrap_inputs(plan)
    parts = plan_parts(definition, mirror, cache, checkout)
    steps = [base, parts.package, kernel_inputs(definition, base.key)]
    steps += _roles(definition, plan, base, parts, cache, checkout, mirror)
    planned = judged(steps, cache, definition.id)
    preload = "container images to assemble" if parts.preload_digest == UNKNOWN else ""
    containers = PlannedStep("preload", not preload, (preload,) if preload else ())
    return [*planned[:2], containers, *planned[2:], PlannedStep("disk", cached=False)]


def judged(steps: Sequence[StepInputs], cache: Cache, definition: str) -> list[PlannedStep]:
    """Return for each step whether its result is there, or why not."""
    last = recall(cache, definition)
    found = []
    for step in steps:
        cached = cache.has(step.step, step.key)
        found.append(PlannedStep(step.name, cached, () if cached else tuple(reasons(step, last))))
    return found


def _roles(
    definition: Definition,
    plan: Bootstrap,
    base: StepInputs,
    parts: PlannedParts,
    cache: Cache,
    checkout: Checkout,
    mirror: str | None,
) -> list[StepInputs]:
    tree = cache.entry("bootstrap", base.key) / "tree"
    sources = sealed_sources(plan, definition, tree, mirror) if tree.is_dir() else ""
    run = plan_roles(definition, parts.package_digest, parts.preload_digest, sources, mirror)
    return role_inputs(run, base.key, checkout)
