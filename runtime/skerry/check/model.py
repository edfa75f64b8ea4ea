"""A check and what it finds. Results are Azure IoT Edge's words (azure-iot-edge.md §7.1)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.check.appliance import Appliance

LINK = "docs/operations.md#check"


class Result(StrEnum):
    """How a check ended; FATAL means that nothing after it is of use."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"
    SKIPPED = "skipped"
    IGNORED = "ignored"

    @property
    def bad(self) -> bool:
        return self in {Result.WARNING, Result.ERROR, Result.FATAL}


class Section(StrEnum):
    """Where a check is listed, in this order."""

    IDENTITY = "Configuration checks (identity services)"
    IDENTITY_LINK = "Connectivity checks (identity services)"
    EDGE = "Configuration checks"
    EDGE_LINK = "Connectivity checks"
    APPLIANCE = "Appliance checks"


@dataclass(frozen=True)
class Fix:
    """A repair that harms nothing: `does` says it in words, `run` raises SkerryError or OSError."""

    does: str
    run: Callable[[], None]


@dataclass(frozen=True)
class Finding:
    """What a check found; `cause` is empty when all is well, `facts` go into JSON alone."""

    result: Result
    cause: str = ""
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    fix: Fix | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One check; `needs` are ids without whose success it would only say the same again."""

    id: str
    section: Section
    description: str
    run: "Callable[[Appliance], Finding]"
    needs: tuple[str, ...] = ()
    link: str = LINK


@dataclass(frozen=True)
class Outcome:
    """A check that was run, or skipped."""

    check: Check
    finding: Finding
    seconds: float = 0.0
    fixed: str = ""


def ok(*evidence: str, **facts: object) -> Finding:
    return Finding(Result.OK, evidence=evidence, facts=facts)


def ignored(why: str) -> Finding:
    """What the check looks at is not part of this appliance."""
    return Finding(Result.IGNORED, why)


def skipped(why: str) -> Finding:
    """It cannot be told now."""
    return Finding(Result.SKIPPED, why)


def warning(
    cause: str, remedy: str, *evidence: str, fix: Fix | None = None, **facts: object
) -> Finding:
    return Finding(Result.WARNING, cause, evidence, remedy, fix, facts)


def error(
    cause: str, remedy: str, *evidence: str, fix: Fix | None = None, **facts: object
) -> Finding:
    return Finding(Result.ERROR, cause, evidence, remedy, fix, facts)


def fatal(cause: str, remedy: str, *evidence: str) -> Finding:
    return Finding(Result.FATAL, cause, evidence, remedy)


def worst(findings: Sequence[Finding], otherwise: Finding) -> Finding:
    """Join the findings of several things into one: the worst leads, all evidence is kept.

    Without a bad finding it is `otherwise`.
    """
    order = (Result.FATAL, Result.ERROR, Result.WARNING)
    bad = sorted(
        (found for found in findings if found.result.bad), key=lambda f: order.index(f.result)
    )
    if not bad:
        return otherwise
    first = bad[0]
    rest = tuple(found.cause for found in bad[1:])
    evidence = (*first.evidence, *rest, *(line for f in bad[1:] for line in f.evidence))
    fix = next((found.fix for found in bad if found.fix is not None), None)
    return Finding(first.result, first.cause, evidence, first.remedy, fix, first.facts)
