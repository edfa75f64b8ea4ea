"""The static half of `make check`: every linter at once, output shown only of those that complain.

Usage: python -m harness.lint [--with-tests]. With the option the default test tier runs beside the
linters; its output comes last, so that pytest's closing line closes the run. Exit status 1 when any
of them failed.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 600

LINTERS: dict[str, list[str]] = {
    "ansible-lint": ["ansible-lint", "--offline", "-q", "--nocolor"],
    "mypy": ["mypy", "--no-error-summary"],
    "ruff": ["ruff", "check", "--quiet"],
    "ruff format": ["ruff", "format", "--check", "--quiet"],
    "yamllint": ["yamllint", "--strict", "."],
}
TESTS = ["pytest", "-q", "--numprocesses=auto"]


@dataclass(frozen=True)
class Outcome:
    name: str
    passed: bool
    seconds: float
    output: str

    def line(self) -> str:
        return f"  {self.name:<14}{self.seconds:6.1f} s   {'ok' if self.passed else 'FAILED'}"


def environment() -> dict[str, str]:
    """Programs come from this environment first, and no linter colours its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "PATH": path, "NO_COLOR": "1"}


def run(name: str, command: list[str]) -> Outcome:
    start = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return Outcome(name, done.returncode == 0, time.monotonic() - start, done.stdout)


def report(outcome: Outcome) -> bool:
    if not outcome.passed:
        sys.stdout.write(outcome.output.rstrip() + "\n")
    sys.stdout.write(outcome.line() + "\n")
    sys.stdout.flush()
    return outcome.passed


def main(arguments: list[str]) -> int:
    with (
        ThreadPoolExecutor(max_workers=len(LINTERS) + 1) as pool,
        # short: the path of a unix socket has room for a hundred characters
        TemporaryDirectory(prefix="t") as folder,
    ):
        command = [*TESTS, f"--basetemp={folder}/p"]
        tests = pool.submit(run, "tests", command) if "--with-tests" in arguments else None
        linters: list[Future[Outcome]] = [pool.submit(run, *linter) for linter in LINTERS.items()]
        complaints = sum(not report(linter.result()) for linter in linters)
        if tests is None:
            return 0 if complaints == 0 else 1
        outcome = tests.result()
    sys.stdout.write(f"{outcome.line()}\n{outcome.output}")
    if complaints:
        sys.stdout.write(f"{complaints} of the linters complained, see above\n")
    return 0 if complaints == 0 and outcome.passed else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
