"""Runs the appliance checks (tests/roles/*/test_verify.py) in a pytest of their own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Checked:
    """What came of the checks, by `role: name`."""

    passed: frozenset[str]
    failed: dict[str, str]
    skipped: frozenset[str]
    output: str


def run_checks(
    where: Sequence[str], report: Path, wrap: Sequence[str] = (), roles: Sequence[str] = ()
) -> Checked:
    """Run them against `where`, testinfra's options for the host; all roles without `roles`."""
    folders = [f"tests/roles/{role}" for role in roles] or ["tests/roles"]
    command = [*wrap, sys.executable, "-m", "pytest", *folders, "-m", "appliance", *where]
    command += [f"--junitxml={report}", "-p", "no:randomly", "-p", "no:cacheprovider", "-q"]
    environment = {
        key: value for key, value in os.environ.items() if key not in {"CI", "SKERRY_COUNTS"}
    }
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    passed, skipped, failed = set(), set(), {}
    assert report.is_file(), done.stdout + done.stderr
    for case in ElementTree.fromstring(report.read_text()).iter("testcase"):  # noqa: S314
        name = f"{case.get('classname', '').split('.')[-2]}: {case.get('name')}"
        kinds = {child.tag: child for child in case}
        trouble = kinds.get("failure", kinds.get("error"))
        if trouble is not None:
            failed[name] = trouble.text or ""
        elif "skipped" in kinds:
            skipped.add(name)
        else:
            passed.add(name)
    return Checked(frozenset(passed), failed, frozenset(skipped), done.stdout + done.stderr)
