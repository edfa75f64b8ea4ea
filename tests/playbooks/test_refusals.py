"""What roles refuse, and what they say then. Check mode: nothing of this machine is touched."""

import json
from pathlib import Path

import pytest

from harness.playbook import Run, play

pytestmark = pytest.mark.root

HERE = {"ansible_connection": "local", "ansible_become": False}


def run_role(work: Path, role: str, phase: str, variables: dict[str, object]) -> Run:
    """Run one phase of one role as if this machine were a booted target, in check mode."""
    playbook = work / "playbook.yml"
    played = {"hosts": "here", "gather_facts": False, "roles": ["phase", role]}
    playbook.write_text(json.dumps([played]))
    return play(
        str(playbook),
        {"all": {"hosts": {"here": HERE}}},
        {"phase_booted": True, **variables},
        work,
        check=True,
        arguments=["--tags", phase],
    )


def test_a_machine_without_a_required_tpm_is_refused(tmp_path: Path) -> None:
    """The message names the device file and both ways out."""
    if Path("/dev/tpmrm0").exists():
        pytest.fail("this machine has a TPM at /dev/tpmrm0; run this test on one without")
    run = run_role(tmp_path, "tpm", "activate", {"tpm_required": True})
    assert run.failures == [
        "tpm : Refuse a machine without a TPM where one is required: "
        "no TPM 2.0: /dev/tpmrm0 does not exist, and tpm_required is true; "
        "switch the TPM on in the firmware, or set tpm_required to false"
    ]


def test_a_play_does_not_lock_itself_out(tmp_path: Path) -> None:
    """Who logs in as root has to name an administrator, since root may not log in afterwards."""
    run = run_role(tmp_path, "base", "activate", {"ansible_user": "root"})
    assert run.failures == [
        "base : Refuse to lock this play out: "
        "this play logs in as root, which the appliance refuses afterwards, and base_users is "
        "empty; name an administrator with a key in base_users"
    ]


def test_a_running_system_is_not_sealed(tmp_path: Path) -> None:
    """The role seal works on image trees only."""
    run = run_role(tmp_path, "seal", "install", {})
    assert run.failures == [
        "seal : Refuse a booted system: the role seal empties a tree of its identity; "
        "it is for image trees, and this system is running"
    ]


def test_a_wrong_type_is_refused_by_name(tmp_path: Path) -> None:
    """A variable of the wrong type stops the play before anything is done."""
    run = run_role(tmp_path, "engine", "install", {"engine_log_files": "many"})
    [failure] = run.failures
    assert "engine_log_files" in failure


@pytest.mark.parametrize("exceptions", [{"sshd-99": "x"}, {"sshd-40": ""}], ids=["rule", "reason"])
def test_an_exception_needs_a_rule_and_a_reason(tmp_path: Path, exceptions: dict[str, str]) -> None:
    """What is taken out of the hardening is one of its rules, and somebody says why."""
    run = run_role(tmp_path, "hardening", "install", {"hardening_exceptions": exceptions})
    assert run.failures == [
        "hardening : Refuse exceptions without a rule or reason: "
        f"hardening_exceptions has {list(exceptions)}; expected ids of rules in "
        "roles/hardening/vars/main.yml, each with its reason"
    ]
