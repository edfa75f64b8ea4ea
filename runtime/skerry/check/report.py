"""What `skerry check` says: for people, and as Azure IoT Edge's JSON with our own keys added."""

import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime

from skerry import __version__
from skerry.base.upkeep import rfc3339
from skerry.check.appliance import Appliance
from skerry.check.model import Check, Outcome, Result

_MARKS = {
    Result.OK: "√",
    Result.WARNING: "‼",
    Result.ERROR: "×",
    Result.FATAL: "×",
    Result.SKIPPED: "-",
    Result.IGNORED: "-",
}
_COLOURS = {
    Result.OK: "32",
    Result.WARNING: "33",
    Result.ERROR: "31",
    Result.FATAL: "31",
    Result.SKIPPED: "2",
    Result.IGNORED: "2",
}


def exit_status(outcomes: Sequence[Outcome], *, warnings_as_errors: bool) -> int:
    """Return 1 when something is wrong; warnings count if asked for."""
    results = {outcome.finding.result for outcome in outcomes}
    wrong = {Result.ERROR, Result.FATAL} | ({Result.WARNING} if warnings_as_errors else set())
    return 1 if results & wrong else 0


def text_of(outcomes: Sequence[Outcome], *, verbose: bool, colour: bool, chosen: bool) -> str:
    """Return the findings for people: what is wrong first, all of them when `verbose`.

    `chosen` tells that a person named the checks: then each of them is shown.
    """
    lines: list[str] = []
    if verbose or chosen:
        section = None
        for outcome in outcomes:
            if verbose and outcome.check.section is not section:
                section = outcome.check.section
                lines += ([""] if lines else []) + [section.value, "-" * len(section.value)]
            lines += _lines(outcome, verbose=True, colour=colour)
    else:
        order = (Result.FATAL, Result.ERROR, Result.WARNING)
        bad = [outcome for outcome in outcomes if outcome.finding.result.bad or outcome.fixed]
        bad.sort(key=lambda one: (*order, one.finding.result).index(one.finding.result))
        for outcome in bad:
            lines += _lines(outcome, verbose=False, colour=colour)
    lines += ([""] if lines else []) + [_counts(outcomes)]
    return "\n".join(lines) + "\n"


def _lines(outcome: Outcome, *, verbose: bool, colour: bool) -> list[str]:
    finding, check = outcome.finding, outcome.check
    mark, told = _MARKS[finding.result], finding.cause or check.description
    if colour:
        mark = f"\x1b[{_COLOURS[finding.result]}m{mark}\x1b[0m"
    lines = [f"{mark} {check.id}  {told}"]
    if finding.result.bad or verbose:
        lines += [
            _field("evidence" if not at else "", line) for at, line in _kept(finding.evidence)
        ]
    if outcome.fixed:
        lines.append(_field("fixed", outcome.fixed))
    if finding.result.bad:
        lines.append(_field("remedy", finding.remedy))
        if finding.fix is not None:
            lines.append(_field("fix", f"sudo skerry check --fix {check.id}"))
    return lines


def _kept(evidence: Sequence[str]) -> list[tuple[int, str]]:
    return list(enumerate(line for line in evidence if line))


def _field(name: str, value: str) -> str:
    return f"    {name:<9} {value}"


def _counts(outcomes: Sequence[Outcome]) -> str:
    def count(*results: Result) -> int:
        return sum(outcome.finding.result in results for outcome in outcomes)

    warnings, errors = count(Result.WARNING), count(Result.ERROR, Result.FATAL)
    parts = [f"{count(Result.OK)} ok"]
    parts += [f"{warnings} warning{'' if warnings == 1 else 's'}"] if warnings else []
    parts += [f"{errors} error{'' if errors == 1 else 's'}"] if errors else []
    skipped, other = count(Result.SKIPPED), count(Result.IGNORED)
    parts += [f"{skipped} skipped"] if skipped else []
    parts += [f"{other} not for this device"] if other else []
    return ", ".join(parts)


def json_of(outcomes: Sequence[Outcome], appliance: Appliance, now: datetime) -> dict[str, object]:
    """Return upstream's shape; `description` and what follows it are ours."""
    return {
        "additional_info": _additional(outcomes, appliance, now),
        "checks": {outcome.check.id: _entry(outcome) for outcome in outcomes},
    }


def _entry(outcome: Outcome) -> dict[str, object]:
    finding = outcome.finding
    result: dict[str, object] = {"result": finding.result.value}
    if finding.result.bad:
        result["details"] = [finding.cause, *finding.evidence]
    elif finding.result is Result.SKIPPED:
        result["details"] = [finding.cause]
    return {
        "result": result,
        "additional_info": dict(finding.facts),
        "description": outcome.check.description,
        "section": outcome.check.section.value,
        "cause": finding.cause,
        "evidence": list(finding.evidence),
        "remedy": finding.remedy,
        "fixable": finding.fix is not None,
        "fixed": outcome.fixed,
        "link": outcome.check.link,
        "seconds": round(outcome.seconds, 3),
    }


def _additional(
    outcomes: Sequence[Outcome], appliance: Appliance, now: datetime
) -> dict[str, object]:
    from skerry.workloads.systeminfo import Machine, system_info

    found = {outcome.check.id: outcome.finding.facts for outcome in outcomes}
    version = found.get("container-engine-uri", {}).get("docker_version")
    machine = Machine(appliance.root)
    release = machine.os_release()
    return {
        "docker_version": version,
        "aziot_edged_version": __version__,
        "now": rfc3339(now),
        "os": {
            "id": release.get("ID"),
            "version_id": release.get("VERSION_ID"),
            "arch": platform.machine(),
            "bitness": 64 if sys.maxsize > 2**32 else 32,
        },
        "system_info": system_info(str(version or ""), {}, machine),
    }


def list_of(checks: Sequence[Check]) -> list[tuple[str, str, str]]:
    """Return section, id and description of every check."""
    return [(check.section.value, check.id, check.description) for check in checks]


def wants_colour(stream: object) -> bool:
    """Tell whether a stream is a terminal and its reader wants colour (NO_COLOR)."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and not os.environ.get("NO_COLOR")
