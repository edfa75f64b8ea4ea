"""Ansible's display during a build: one JSON line per task, a snapshot after each role.

The snapshot is taken when the next role's first task is about to start: no task is running then. It
is a copy of the overlay's upper folder, whole or absent: <SKERRY_SNAPSHOTS>/<role>.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped]

DOCUMENTATION = """
name: skerry_build
type: stdout
short_description: JSON lines for skerry-factory
description: [One JSON line per task on standard output; a snapshot of the tree after each role.]
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Reports tasks and failures."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "skerry_build"

    def __init__(self) -> None:
        super().__init__()
        self._role: str | None = None

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        role = task._role.get_name() if task._role else None
        if role is not None and role != self._role:
            self._snapshot()
            self._role = role
        self._say(task=task.get_name(), role=role)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._say(task=task.get_name(), role=None)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._failed(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._failed(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        counts = stats.summarize("image")
        self._say(changed=counts["changed"], failed=counts["failures"] + counts["unreachable"])

    def _failed(self, result: Any) -> None:
        told = result._result
        keys = ("msg", "stdout", "stderr", "module_stdout", "module_stderr")
        parts = [str(told.get(key, "")) for key in keys]
        for item in told.get("results", ()):
            if item.get("failed"):
                parts.append(f"{item.get('item')}: {item.get('msg')}")
        hidden = told.get("censored")
        text = hidden or "\n".join(part for part in parts if part.strip())
        self._say(failure=text, task=result._task.get_name())

    def _snapshot(self) -> None:
        if self._role is None:
            return
        target = Path(os.environ["SKERRY_SNAPSHOTS"]) / self._role
        partial = target.with_name(f"{self._role}.partial")
        upper = os.environ["SKERRY_UPPER"]
        subprocess.run(["cp", "-a", "--reflink=auto", upper, str(partial)], check=True)
        partial.rename(target)

    @staticmethod
    def _say(**event: object) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
