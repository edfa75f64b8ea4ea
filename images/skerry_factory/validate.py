"""Validation: the appliance checks (testinfra) against a running appliance over SSH.

The checks are the roles' own verify modules, `tests/roles/*/test_verify.py`, marker `appliance`.
They run in a pytest of their own, so that a broken check cannot harm the caller. Three files are
written to the report folder: `ssh_config`, `junit.xml`, `report.html`.

How to log in is in `skerry_factory.ssh`; the host key is pinned there.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import jinja2

from skerry.base.files import write_atomic
from skerry_factory.errors import FactoryError
from skerry_factory.paths import Checkout, package_data
from skerry_factory.ssh import ALIAS, Target, shared_connection

TIMEOUT_SECONDS = 900.0
FINISHED = re.compile(r"(?P<area>\w+)/test_verify\.py::.*\[ *\d+%\]")
"""A line that `pytest -v` prints for a finished check."""


class ValidationError(FactoryError):
    """The checks could not be run at all; a failed check is not an error but a result."""


@dataclass(frozen=True)
class Check:
    """One check and what came of it; `result` is passed, failed or skipped."""

    area: str
    name: str
    result: str
    seconds: float
    message: str


@dataclass(frozen=True)
class Validation:
    """All checks of one run. An appliance is valid when nothing failed and something passed."""

    appliance: str
    started: str
    seconds: float
    checks: tuple[Check, ...]
    report: Path

    @property
    def valid(self) -> bool:
        return self.count("failed") == 0 and self.count("passed") > 0

    def count(self, result: str) -> int:
        return sum(check.result == result for check in self.checks)

    def as_json(self) -> dict[str, object]:
        counts = {result: self.count(result) for result in ("passed", "failed", "skipped")}
        return {
            "result": "valid" if self.valid else "invalid",
            "appliance": self.appliance,
            "started": self.started,
            "seconds": round(self.seconds, 1),
            **counts,
            "report": str(self.report),
            "checks": [asdict(check) for check in self.checks],
        }


def checks_of_junit(xml: str) -> tuple[Check, ...]:
    """Return the checks that a JUnit file of pytest tells of, in the order they ran."""
    cases = ElementTree.fromstring(xml).iter("testcase")  # noqa: S314 - our own pytest wrote it
    return tuple(_check(case) for case in cases)


def _check(case: ElementTree.Element) -> Check:
    result, message = "passed", ""
    for child in case:
        if child.tag in {"failure", "error"}:
            result, message = "failed", child.text or ""
        elif child.tag == "skipped":
            result, message = "skipped", child.attrib["message"]
    areas = case.get("classname", "").removesuffix(".test_verify").split(".")
    name = case.get("name", "").removeprefix("test_").replace(f"[ssh://{ALIAS}]", "")
    return Check(
        area=areas[-1],
        name=name.replace(f"ssh://{ALIAS}-", "").replace("_", " "),
        result=result,
        seconds=float(case.get("time", "0")),
        message=message.strip(),
    )


def render_report(validation: Validation) -> str:
    """Return the report as one HTML page that needs nothing else."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(package_data("report.html.j2").read_text("utf-8"))
    return template.render(validation=validation)


def table(validation: Validation) -> str:
    """Return the result for people: a line for each area, then every failure in full."""
    rows = [f"{'AREA':<12}{'PASSED':>8}{'FAILED':>8}{'SKIPPED':>9}"]
    for area in dict.fromkeys(check.area for check in validation.checks):
        of_area = [check.result for check in validation.checks if check.area == area]
        passed, failed, skipped = (of_area.count(r) for r in ("passed", "failed", "skipped"))
        rows.append(f"{area:<12}{passed:>8}{failed:>8}{skipped:>9}")
    for check in validation.checks:
        if check.result == "failed":
            rows += ["", f"× {check.area}: {check.name}", *_indented(check.message)]
    rows += ["", f"report: {shown(validation.report)}"]
    return "\n".join(rows)


def shown(path: Path) -> str:
    """Return a path as a person would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _indented(message: str, lines: int = 12) -> list[str]:
    return [f"    {line}" for line in message.splitlines()[-lines:]]


def validate(
    target: Target,
    report_folder: Path,
    *,
    appliance: str,
    waits_for: Callable[[str], None] = lambda what: None,
    checks: Path | None = None,
) -> Validation:
    """Run all checks against `target`; `waits_for` is told how far they are."""
    checks = checks or Checkout.of_package().root / "tests" / "roles"
    if not checks.is_dir():
        raise ValidationError(f"no checks at {checks}; validate runs from a checkout of Skerry")
    report_folder.mkdir(parents=True, exist_ok=True)
    junit, report = report_folder / "junit.xml", report_folder / "report.html"
    junit.unlink(missing_ok=True)
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    with shared_connection(target, report_folder / "ssh_config") as config:
        output = _run_pytest(config, junit, checks, waits_for)
    if not junit.is_file():
        raise ValidationError(f"the checks did not run:\n{output}")
    found = checks_of_junit(junit.read_text())
    if not found:
        raise ValidationError(f"no check was selected:\n{output}")
    validation = Validation(appliance, started, time.monotonic() - clock, found, report)
    write_atomic(report, render_report(validation).encode(), mode=0o644)
    return validation


def _run_pytest(config: Path, junit: Path, checks: Path, waits_for: Callable[[str], None]) -> str:
    root = Checkout.of_package().root
    command = [sys.executable, "-m", "pytest", str(checks), "-m", "appliance", "-v"]
    command += [
        "-c",
        str(root / "pyproject.toml"),
        "--color=no",
        "--tb=short",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
    ]
    command += [f"--hosts=ssh://{ALIAS}", f"--ssh-config={config}", "--sudo", f"--junitxml={junit}"]
    # CI is about the project's own tests; here a check that does not apply may skip anywhere
    environment = {
        key: value for key, value in os.environ.items() if key not in {"CI", "SKERRY_COUNTS"}
    }
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        limit = threading.Timer(TIMEOUT_SECONDS, process.kill)
        limit.start()
        try:
            for line in process.stdout or ():
                lines.append(line)
                if (done := FINISHED.search(line)) is not None:
                    waits_for(f"the checks of {done['area']}")
        finally:
            limit.cancel()
            process.kill()
    return "".join(lines)
