"""Runs a build in namespaces of its own, and ends it with the command that asked for it.

The worker is `python -m skerry_factory.inside`, process 1 of a new PID namespace with private
mounts, and, when the operator is not root, with a user namespace that maps the operator's sub-ids.
It reads one JSON line with the job; end of file on its standard input ends it and with it every
process and mount of the build, also after kill -9 of the command. (A parent-death signal would not
do: the kernel clears it when the user namespace is made.) Its events come back as JSON lines.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from skerry_factory.command import build_environment
from skerry_factory.errors import FactoryError
from skerry_factory.progress import Progress, Step

UNSHARE = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc")
UNSHARE_AS_ROOT = ("unshare", "--user", "/bin/sh", "-c", 'read -r go && exec "$@"', "sh")
"""newuidmap gives root no account that /etc/subuid does not name, so the map comes from here."""

ALL_ACCOUNTS = "0 0 4294967295"
POLL_SECONDS = 0.01
UNSHARE_USER = ("--user", "--map-auto", "--map-root-user")


class BuildFailedError(FactoryError):
    """The worker reported an error; its message is complete."""


def run_inside(
    job: Mapping[str, object],
    progress: Progress,
    *,
    own_user_namespace: bool = False,
    offline: bool = False,
) -> Mapping[str, Any]:
    """Run a job in namespaces of its own, show its steps, and return its result.

    Root needs a user namespace only for what the kernel keeps by it (emulators); it then holds all
    of the machine's accounts as they are. `offline` leaves the job no network at all.
    """
    worker = [sys.executable, "-m", "skerry_factory.inside"]
    unshare = [*UNSHARE, *(["--net"] if offline else [])]
    if os.geteuid() != 0:
        return converse([*unshare, *UNSHARE_USER, *worker], job, progress)
    if own_user_namespace:
        return converse([*UNSHARE_AS_ROOT, *unshare, *worker], job, progress, map_accounts)
    return converse([*unshare, *worker], job, progress)


def map_accounts(worker: "subprocess.Popen[str]") -> None:
    """Give the user namespace of UNSHARE_AS_ROOT all accounts, and let it go on."""
    own = Path("/proc/self/ns/user").readlink()
    process = Path("/proc", str(worker.pid))
    while process.joinpath("ns/user").readlink() == own:
        if worker.poll() is not None:
            return
        time.sleep(POLL_SECONDS)
    for name in ("uid_map", "gid_map"):
        (process / name).write_text(ALL_ACCOUNTS, "utf-8")
    if worker.stdin is not None:
        worker.stdin.write("go on\n")


def converse(
    command: Sequence[str],
    job: Mapping[str, object],
    progress: Progress,
    prepare: Callable[["subprocess.Popen[str]"], None] = lambda worker: None,
) -> Mapping[str, Any]:
    """Start a worker, prepare it, give it the job, show its steps; it ends before this returns."""
    worker = _start(command)
    talk: list[str] = []
    listener = threading.Thread(target=_collect, args=(worker.stderr, talk), daemon=True)
    listener.start()
    try:
        prepare(worker)
        result = _listen(worker, job, progress)
    finally:
        # closing its standard input ends the worker wherever it is
        if worker.stdin is not None:
            worker.stdin.close()
        worker.wait()
        listener.join()
        for stream in (worker.stdout, worker.stderr):
            if stream is not None:
                stream.close()
    if result is None:
        told = "".join(f"\n    {line.rstrip()}" for line in talk[-20:])
        raise BuildFailedError(
            f"the build process ended with status {worker.returncode}{told}{_advice(talk)}"
        )
    if "error" in result:
        raise BuildFailedError(str(result["error"]))
    return result


def _advice(talk: Sequence[str]) -> str:
    """Return what to do when the namespace could not be made."""
    if os.geteuid() != 0 and any(line.startswith(("unshare:", "newuidmap:")) for line in talk):
        return (
            "\n  building without root needs package uidmap and sub-ids, once: "
            'usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$USER"'
        )
    return ""


def _start(command: Sequence[str]) -> "subprocess.Popen[str]":
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=build_environment({"PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise FactoryError("program 'unshare' is not installed; install util-linux") from error


def _listen(
    worker: "subprocess.Popen[str]", job: Mapping[str, object], progress: Progress
) -> Mapping[str, Any] | None:
    if worker.stdin is None or worker.stdout is None:
        raise FactoryError("the build process has no pipes")
    try:
        worker.stdin.write(json.dumps(job) + "\n")
        worker.stdin.flush()
    except BrokenPipeError:
        return None
    with ExitStack() as all_steps:
        open_steps: dict[int, tuple[Step, ExitStack]] = {}
        for line in worker.stdout:
            event: dict[str, Any] = json.loads(line)
            kind = event["event"]
            if kind == "result":
                return event
            if kind == "note":
                progress.note(event["text"])
            elif kind == "begin":
                own = all_steps.enter_context(ExitStack())
                step = own.enter_context(progress.step(event["name"], event["detail"]))
                open_steps[event["step"]] = (step, own)
            elif kind == "waits":
                open_steps[event["step"]][0].waits_for(event["text"])
            else:
                _end(*open_steps.pop(event["step"]), event["text"], ok=event["ok"])
        for step, own in open_steps.values():
            _end(step, own, "", ok=False)
    return None


def _end(step: Step, own: ExitStack, outcome: str, *, ok: bool) -> None:
    step.done_as(outcome)
    if ok:
        own.close()
    else:
        failure = BuildFailedError(step.name)
        own.__exit__(BuildFailedError, failure, None)


def _collect(stream: TextIO | None, lines: list[str]) -> None:
    if stream is not None:
        lines.extend(stream)
