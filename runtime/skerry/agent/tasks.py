"""Uploads that go on after their direct method was answered.

    <storage>/tasks.json   {"tasks": [{"id", "status", "message"}]}, 0600, the last 50

A task that was under way when the agent ended has failed and says so; upstream forgets it.
"""

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from skerry.agent.errors import AgentError
from skerry.agent.kept import read_or_set_aside
from skerry.base.errors import SkerryError
from skerry.base.files import write_atomic
from skerry.base.log import Logger

_MAX_BYTES = 1024 * 1024
_MAX_KEPT = 50
_MAX_UNDER_WAY = 8


class TaskStatus(StrEnum):
    """How far a task has got, in upstream's words."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


_UNDER_WAY = (TaskStatus.NOT_STARTED, TaskStatus.RUNNING)


@dataclass(frozen=True)
class Task:
    """What is known of a task."""

    id: str
    status: TaskStatus
    message: str = ""


class Tasks:
    """Runs tasks and remembers how they ended."""

    def __init__(self, folder: Path, pool: Executor, log: Logger) -> None:
        self._path = folder / "tasks.json"
        self._pool = pool
        self._log = log
        self._lock = threading.Lock()
        kept: list[Task] = read_or_set_aside(self._path, _MAX_BYTES, _from_json, [], log)
        ended = "the agent ended before the task did; ask again"
        self._tasks = {
            task.id: replace(task, status=TaskStatus.FAILED, message=ended)
            if task.status in _UNDER_WAY
            else task
            for task in kept
        }

    def begin(self, work: Callable[[], None]) -> Task:
        """Run something in the background. Raises: AgentError when too much is under way."""
        task = Task(str(uuid.uuid4()), TaskStatus.NOT_STARTED)
        with self._lock:
            under_way = [one for one in self._tasks.values() if one.status in _UNDER_WAY]
            if len(under_way) >= _MAX_UNDER_WAY:
                raise AgentError(f"{_MAX_UNDER_WAY} uploads are under way; ask again later")
        self._note(task)
        self._pool.submit(self._run, task, work)
        return self.find(task.id)

    def find(self, correlation_id: str) -> Task:
        """Return what is known of a task."""
        with self._lock:
            return self._tasks.get(correlation_id) or Task(correlation_id, TaskStatus.UNKNOWN)

    def _run(self, task: Task, work: Callable[[], None]) -> None:
        self._note(replace(task, status=TaskStatus.RUNNING))
        try:
            work()
        except SkerryError as error:
            self._log.warning("upload failed", task=task.id, reason=error)
            self._note(replace(task, status=TaskStatus.FAILED, message=str(error)))
        except Exception:
            self._log.exception("upload failed", task=task.id)
            told = "internal error; see the log of the agent"
            self._note(replace(task, status=TaskStatus.FAILED, message=told))
        else:
            self._note(replace(task, status=TaskStatus.COMPLETED))

    def _note(self, task: Task) -> None:
        with self._lock:
            others = [one for one in self._tasks.values() if one.id != task.id]
            self._tasks = {one.id: one for one in [*others, task][-_MAX_KEPT:]}
            data = {"tasks": [asdict(one) for one in self._tasks.values()]}
            write_atomic(self._path, json.dumps(data).encode(), mode=0o600)


def _from_json(table: dict[str, Any]) -> list[Task]:
    return [
        Task(str(entry["id"]), TaskStatus(entry["status"]), str(entry["message"]))
        for entry in table["tasks"]
    ]
