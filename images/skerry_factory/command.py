"""Runs the programs of a build: an argument list, a clean locale, output kept for messages.

A command's environment is made here and not inherited, so that a build gives the same bytes
whatever the operator's shell exports; only what is named in KEPT passes (proxies of the site).
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import CommandError, FactoryError

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
KEPT = ("http_proxy", "https_proxy", "no_proxy")
TIMEOUT_SECONDS = 1800.0


def build_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of every program that takes part in a build."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {
        "PATH": PATH,
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH),
        **kept,
        **(extra or {}),
    }


def bound_command(command: Sequence[str]) -> list[str]:
    """Return a command line for a child that is killed when this process ends, however it ends."""
    if shutil.which(command[0]) is None:
        raise _missing(command[0])
    return ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", *command]


def run_command(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> str:
    """Run a program and return what it wrote; raises CommandError with its last lines."""
    try:
        done = subprocess.run(
            command,
            env=build_environment(environment),
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_seconds,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise _missing(command[0]) from error
    except subprocess.TimeoutExpired as error:
        raise FactoryError(f"{command[0]} did not end within {timeout_seconds:.0f} s") from error
    if done.returncode != 0:
        raise CommandError(command, done.returncode, done.stdout)
    return done.stdout


@contextmanager
def running_command(command: Sequence[str]) -> Iterator[BinaryIO]:
    """Yield what a program writes, while it writes; raises CommandError with what it said."""
    with tempfile.TemporaryFile() as said:
        try:
            child = subprocess.Popen(
                command,
                env=build_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        except FileNotFoundError as error:
            raise _missing(command[0]) from error
        # leaving closes the pipe, which ends a program that still writes
        with child:
            yield cast(BinaryIO, child.stdout)
        if child.returncode != 0:
            said.seek(0)
            raise CommandError(command, child.returncode, said.read().decode("utf-8", "replace"))


def _missing(program: str) -> FactoryError:
    return FactoryError(
        f"program {program!r} is not installed; install requirements/system-packages.txt"
    )
