"""Runs playbooks and tells what each task did, so that a test can name the task that changed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Task:
    """One task on one host, as Ansible's own result tells it."""

    name: str
    changed: bool
    failed: bool
    skipped: bool
    message: str


@dataclass(frozen=True)
class Run:
    """A finished playbook."""

    tasks: tuple[Task, ...]
    status: int
    output: str

    @property
    def changed(self) -> list[str]:
        return [task.name for task in self.tasks if task.changed]

    @property
    def failures(self) -> list[str]:
        return [f"{task.name}: {task.message}" for task in self.tasks if task.failed]

    @property
    def executed(self) -> list[str]:
        return [task.name for task in self.tasks if not task.skipped]

    def succeeded(self) -> "Run":
        """Return itself; raises AssertionError unless tasks ran and none failed."""
        assert self.status == 0, "\n".join(self.failures) or self.output[-3000:]
        assert self.executed, f"no task ran: {self.output[-3000:]}"
        return self


def play(
    playbook: str,
    inventory: Mapping[str, object],
    variables: Mapping[str, object],
    work: Path,
    *,
    check: bool = False,
    arguments: Sequence[str] = (),
    wrap: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a playbook of the checkout; `wrap` is put before the command (namespaces)."""
    (work / "inventory.json").write_text(json.dumps(inventory))
    (work / "vars.json").write_text(json.dumps(variables))
    command = [*wrap, str(BIN / "ansible-playbook"), "-i", str(work / "inventory.json")]
    command += ["-e", f"@{work / 'vars.json'}", str(ROOT / "playbooks" / playbook)]
    command += [*arguments, *(["--check"] if check else [])]
    settings = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(work / "ansible"),
        # shared connections are found by host and port, and those of two test devices are the same
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(work / "cp"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {}), **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return Run(tasks_of(done.stdout), done.returncode, done.stdout + done.stderr)


def tasks_of(output: str) -> tuple[Task, ...]:
    """Parse what the JSON callback printed; anything before the document is talk."""
    start = output.find("{\n")
    if start < 0:
        return ()
    document = json.loads(output[start:])
    found = []
    for entry in (task for played in document["plays"] for task in played["tasks"]):
        for result in entry["hosts"].values():
            found.append(
                Task(
                    name=entry["task"]["name"],
                    changed=bool(result.get("changed", False)),
                    failed=bool(result.get("failed", False) or result.get("unreachable", False)),
                    skipped=bool(result.get("skipped", False)),
                    message=str(result.get("msg", "")),
                )
            )
    return tuple(found)
