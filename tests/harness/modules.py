"""Runs one of the roles' own Ansible modules as Ansible does: a process, JSON in, JSON out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROLES = Path(__file__).resolve().parents[2] / "roles"


def run_module(
    role: str, module: str, arguments: dict[str, object], *, check: bool = False
) -> dict[str, Any]:
    """Return what the module answered; `failed` and `msg` are there when it failed."""
    given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}
    done = subprocess.run(
        [sys.executable, str(ROLES / role / "library" / f"{module}.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip().startswith("{"), done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
