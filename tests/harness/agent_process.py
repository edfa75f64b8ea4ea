"""The agent as a process of its own, beside a fake edged."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.edged import FakeEdged
from harness.agents import ENVIRONMENT


def environment(folder: Path) -> dict[str, str]:
    """Return the environment that edged would give an agent with its storage in a folder."""
    return {
        **ENVIRONMENT,
        "IOTEDGE_MANAGEMENTURI": f"unix://{folder / 'mgmt.sock'}",
        "MetricsPort": "0",
        "PATH": os.environ["PATH"],
        "StorageFolder": str(folder),
    }


@contextmanager
def agent_process(variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run the agent; whatever happens it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "skerry.agent.service"],
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fails with `what` after the deadline."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        time.sleep(0.02)


def is_running(edged: FakeEdged, name: str) -> bool:
    """Tell whether a module was created and started."""
    return name in edged.modules and edged.modules[name].status == "running"
