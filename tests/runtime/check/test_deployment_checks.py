"""The check of the deployment: what agent and history say of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fakes.edged import FakeEdged
from harness.appliances import Machine
from skerry.check.model import Finding, Result

WELL = {"lastDesiredStatus": {"code": 200, "description": ""}}
BAD = {"lastDesiredStatus": {"code": 500, "description": "not in force: m ended"}}
ROLLED_BACK = {
    "bad": {"abc": "m ended"},
    "history": [{"digest": "abc", "version": 3, "outcome": "rolled-back", "reason": "m ended"}],
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def told(
    machine: Machine,
    report: dict[str, Any] | None,
    transaction: dict[str, Any] | None = None,
    check_id: str = "deployment-status",
    secrets: Sequence[dict[str, Any]] = (),
) -> Finding:
    """Return what the check says when edged has these."""
    reports = [report] if report is not None else []
    edged = FakeEdged(reports=reports, transactions=[transaction] if transaction else [])
    edged.secrets += secrets
    socket = machine.root / "run/skerry/mgmt.sock"
    socket.parent.mkdir(parents=True, exist_ok=True)
    with edged.serving(socket):
        return machine.find(check_id)


def test_a_deployment_in_force_is_well(machine: Machine) -> None:
    """Also when another one was rolled back before it."""
    assert told(machine, WELL).result is Result.OK
    assert told(machine, WELL, ROLLED_BACK).result is Result.OK


def test_a_deployment_that_is_not_in_force_is_an_error(machine: Machine) -> None:
    """With the agent's reason, and that it was rolled back."""
    found = told(machine, BAD, ROLLED_BACK)
    assert (found.result, "m ended" in found.cause) == (Result.ERROR, True)
    assert any("was rolled back" in line for line in found.evidence), found


@pytest.mark.parametrize(
    ("secrets", "result", "cause"),
    [
        ([], Result.IGNORED, "no module has a secret"),
        ([("config", None)], Result.OK, "1 secrets"),
        ([("config", None), ("none", "secret 'b' has no value")], Result.WARNING, "'b' has no"),
        ([("none", "a"), ("hand", "secret 'b' cannot be opened")], Result.ERROR, "'b' cannot be"),
    ],
)
def test_secrets_that_cannot_be_opened_are_told(
    machine: Machine, secrets: list[tuple[str, str | None]], result: Result, cause: str
) -> None:
    """One that only waits for its value is a warning."""
    found = told(
        machine,
        WELL,
        check_id="module-secrets",
        secrets=[{"origin": origin, "problem": problem} for origin, problem in secrets],
    )
    assert (found.result, cause in (found.cause or str(found))) == (result, True), found


def test_an_edged_that_keeps_its_secrets_to_itself_is_told(machine: Machine) -> None:
    """Nothing listens there."""
    assert machine.find("module-secrets").result is Result.ERROR


def test_a_module_that_was_removed_is_told(machine: Machine) -> None:
    """The agent's last report still has it running."""
    machine.engine.found["edgeAgent"] = {"Name": "/edgeAgent", "State": {"Status": "running"}}
    report = {**WELL, "modules": {"m": {"status": "running", "statusDescription": "running"}}}
    found = told(machine, report, check_id="module-health")
    assert (found.result, found.cause) == (
        Result.ERROR,
        "m has no container: it was removed, and the agent has not made it again",
    )


def test_an_agent_that_has_not_reported_is_told(machine: Machine) -> None:
    """It may be about to."""
    found = told(machine, None)
    assert (found.result, "has not reported yet" in found.cause) == (Result.WARNING, True)


def test_an_edged_that_does_not_answer_is_told(machine: Machine) -> None:
    """Nothing listens there."""
    found = machine.find("deployment-status")
    assert (found.result, "edged does not tell" in found.cause) == (Result.ERROR, True)
